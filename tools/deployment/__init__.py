"""The parts of tools/deploy.py: CDK's command line, what is checked between its steps, and AWS behind a small door."""
