"""What surrounds a decision of people: who may decide, edited questions, grants, reminders, the inbox."""
