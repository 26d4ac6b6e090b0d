"""The local page of `lmdp run`, in a process of its own: it asks the run over its socket, and shows what it says."""
