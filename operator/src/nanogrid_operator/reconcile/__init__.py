"""One pass for one job: snapshot, decision, action."""
