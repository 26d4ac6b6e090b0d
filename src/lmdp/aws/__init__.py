"""The cloud's ends of the path: the events that AWS hands over, and the sinks that it takes rows into."""
