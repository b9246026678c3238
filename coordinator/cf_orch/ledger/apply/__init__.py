"""What each event does to the books: one function an event, and none of them decides anything."""
