"""Events sent to whoever asked for them: subscriptions, and deliveries signed and tried again."""
