"""What commands share: the way they ask, speak and fail, and how they hold a lease for a person or a program."""
