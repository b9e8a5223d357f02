"""A pipeline of modules as data, and what any pipeline that can be tuned offers."""
