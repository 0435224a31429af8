//! Chatrooms, their list, messages and replies.

mod conversations;
mod drain;
mod ids;
mod lists;
mod waits;

on_every_kind!(
    conversations::a_conversation_goes_from_sign_up_to_its_second_reply,
    conversations::an_idempotency_key_gives_the_first_response_again_also_after_the_reply,
    drain::a_plain_process_drains_the_queue_and_finishes_what_it_began_when_told_to_stop,
    lists::a_list_never_lacks_a_room_whose_creation_was_answered,
    lists::a_message_moves_its_room_to_the_top_of_the_list,
    waits::of_fifty_requests_of_one_user_three_wait_and_the_others_are_answered_at_once,
);

on!(sqs:
    ids::an_id_that_is_none_or_that_nothing_has_is_not_found,
    ids::what_belongs_to_somebody_else_cannot_be_told_from_what_does_not_exist,
);

on!(redis:
    drain::redis_stops_for_five_seconds_in_the_middle_of_fifty_conversations_and_every_message_is_answered,
);
