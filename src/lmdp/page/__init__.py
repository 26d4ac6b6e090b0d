"""Page of `lmdp run`, in its own process: it queries the run over the socket and shows the answers."""
