"""What is missing on this machine and in the cloud, and the command that mends it. It changes nothing."""
