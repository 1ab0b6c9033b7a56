"""What an agent is changing, while it does: `feed` hears file events, `presence` counts what is gone, `watch`
is the live view and the tripwire made of both."""
