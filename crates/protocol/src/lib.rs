//! What host and guest agent say to each other: the file the agent is configured by, and the messages.

pub mod config;
