//! Replies that are passed on while they are written.

mod client;
mod live;

on_every_kind!(live::words_come_as_the_model_writes_them_and_the_end_is_what_is_stored);
