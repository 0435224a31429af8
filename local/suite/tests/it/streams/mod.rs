//! Replies that are passed on while they are written.

mod client;
mod deaths;
mod live;
mod stopping;

on_every_kind!(
    deaths::a_reply_whose_worker_was_killed_is_written_by_the_client_that_comes_again,
    deaths::whoever_dies_or_leaves_at_random_the_text_assembled_is_the_reply_stored,
    live::a_client_that_is_gone_at_once_finds_its_message_answered,
    live::a_message_that_fails_says_why_and_ends,
    live::a_reply_that_breaks_off_is_begun_anew_and_never_mixed_with_the_next,
    live::a_stream_answers_the_messages_before_its_own_in_order,
    live::a_post_that_is_repeated_is_one_message_and_both_get_its_whole_reply,
    live::a_stream_that_has_nothing_yet_waits_for_the_next_try,
    live::nobody_is_woken_while_a_stream_has_its_room_and_a_worker_when_it_hands_over,
    live::readers_of_one_message_get_one_text_and_gemini_one_call,
    live::words_come_as_the_model_writes_them_and_the_end_is_what_is_stored,
    stopping::a_message_that_waits_fails_and_costs_nothing,
    stopping::a_queued_reply_that_is_stopped_ends_with_its_draft,
    stopping::a_reply_that_is_streamed_ends_with_what_its_client_has,
    stopping::a_reply_without_a_word_yet_fails_and_counts,
    stopping::a_stop_while_the_worker_is_dead_ends_with_its_draft_and_no_second_call,
);

on!(sqs:
    live::a_client_that_leaves_anywhere_in_a_reply_goes_on_where_it_left,
    live::a_fourth_stream_at_once_is_refused_and_stores_nothing,
    live::a_stream_in_which_nothing_comes_is_kept_open,
    live::a_stream_is_refused_before_it_begins_as_any_request_is,
    live::of_five_readers_at_once_three_read_and_two_are_told_when_to_come_again,
    live::who_polls_sees_the_draft_of_a_reply_that_is_being_written,
);
