"""What Lambda is told to call: `lmdp.cloud.handler.handler`.

The function is made while Lambda starts; what is wrong with its settings ends the start, every fault in one message.
"""

import os

from lmdp.cloud.function import open_function

handler = open_function(dict(os.environ))
