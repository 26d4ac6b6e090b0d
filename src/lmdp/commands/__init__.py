"""One file a command of `lmdp`: options in, settings checked, a part of the pipeline called, an answer printed."""
