"""What of a deployment both who deploys it and who looks at it have to know. No vendor, no I/O."""
