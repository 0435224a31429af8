//! Tests the faults that the system survives. A 202 is never lost: its message ends answered or failed. Nothing is
//! doubled: there is one reply and one charge.
//!
//! The faults are real: processes are killed and frozen, Postgres is stopped, connections are cut. Every test sees to
//! it that its fault happened. Each fault or bad input below is followed by what happens and by its test. A path that
//! begins with another folder is below `it/`; after the name of a function, it is a test in that function's file.
//!
//! 1. The queue is down when a message is posted → 202; answered once the queue is back.
//!    `posts::a_post_while_the_queue_is_down_is_answered_once_it_is_back`
//! 2. A crash after the commit, before the wake-up → Answered by the sweep.
//!    `posts::a_crash_after_the_commit_and_before_the_wake_up_is_made_up_for_by_the_sweep`
//! 3. Postgres is down at a post → 503 with `Retry-After`; nothing is stored or queued.
//!    `posts::a_post_while_postgres_is_down_is_refused_and_leaves_nothing`
//! 4. The same Idempotency-Key and body, 20 at once → One message, the same 202.
//!    `shared: messages::accept::tests::twenty_parallel_posts_with_one_key_make_one_message_even_at_the_limit`
//! 5. The same key with another body → 422.
//!    `shared: messages::accept::tests::a_key_is_good_for_one_body_in_one_room`
//! 6. A wake-up comes 20 times, also at once → One call of Gemini at a time, one reply.
//!    `workers::a_wake_up_that_comes_twenty_times_also_at_once_makes_one_call_at_a_time`
//! 7. A worker is killed before asking, while asking, before settling → Another one takes over when the lease ends.
//!    `workers::a_room_whose_worker_was_killed_is_taken_over_when_the_lease_ends`
//! 8. A stalled worker wakes up after another took its room → Its write changes nothing.
//!    `workers::a_stalled_worker_that_wakes_up_after_its_room_was_taken_changes_nothing`
//! 9. Settled, but the acknowledgement is lost → The second delivery does nothing.
//!    `workers::a_wake_up_whose_acknowledgement_was_lost_does_nothing_when_it_comes_again`
//! 10. Ten messages posted quickly to one room → Answered in order, each with all earlier turns.
//!     `rooms::ten_quick_posts_are_answered_in_order_each_with_all_earlier_turns`
//! 11. One room's call of Gemini hangs → Other rooms are answered; it is deferred at its deadline.
//!     `rooms::a_call_that_hangs_holds_up_no_other_room_and_is_deferred_at_its_deadline`
//! 12. Gemini: 429, 500, 503, connection reset → Deferred, retried, answered, however often.
//!     `gemini::what_may_pass_is_deferred_and_asked_again_until_it_is_answered`
//! 13. Gemini is down for longer than a message's deadline → Failed with its reason; costs nothing.
//!     `gemini::a_message_that_gemini_is_away_for_too_long_for_fails_and_costs_nothing`
//! 14. Gemini: 400, 401, 403, 404 → One call; failed; an alarm.
//!     `gemini::an_error_of_ours_fails_the_message_after_one_call_and_is_logged`
//! 15. A blocked prompt, SAFETY, an empty reply, `MAX_TOKENS` → Settled with that reason, no retry.
//!     `gemini::a_refusal_and_a_cut_reply_are_settled_with_their_reason_and_not_repeated`
//! 16. A stream that is cut, or has an error inside → Never a reply; retried.
//!     `gemini::a_broken_stream_is_never_a_reply`
//! 17. An unreadable body in the queue among good ones → Only that one is retried, and ends among the dead.
//!     `queue::a_message_that_cannot_be_read_is_retried_alone_and_ends_among_the_dead`
//! 18. Postgres goes away while a message is answered → Asked again; one reply.
//!     `rooms::postgres_goes_away_while_a_message_is_answered_and_there_is_one_reply`
//! 19. 40 parallel posts with 5 left → 5 accepted, 35 × 429; the counter says so.
//!     `shared: messages::accept::tests::of_forty_parallel_posts_exactly_the_allowed_five_are_accepted`
//! 20. A Stripe event comes 20 times at once, and again → One effect.
//!     `payments::webhook::an_event_that_comes_twenty_times_at_once_has_one_effect`
//! 21. A subscription's events in every order, with any one missing → The state Stripe has.
//!     `payments::convergence::any_order_with_duplicates_and_any_one_missing_ends_in_stripes_state`
//! 22. A signature that is forged, old or missing; two while a secret rolls → 400 and no write; accepted.
//!     `payments::webhook::a_forged_event_is_refused_and_leaves_no_trace`
//! 23. A genuine event of an unknown type or a newer version → Kept.
//!     `payments::webhook::an_event_of_any_version_and_type_is_accepted_and_kept`
//! 24. Postgres or Stripe is down at an event → 5xx, so that Stripe repeats it; then one effect.
//!     `payments::outages::an_event_is_handled_once_postgres_is_back`
//! 25. Checkouts at once → One customer, one page; a subscriber gets 409.
//!     `payments::checkout::checkouts_at_once_give_one_customer_and_one_page`
//! 26. Codes that are guessed, spent, expired or raced for → One sign-in at most; the budget holds across codes.
//!     `auth::codes::a_code_works_once_and_ten_wrong_guesses_an_hour_lock_its_number_and_no_other`
//! 27. A flood from one address, or to one number → 429; others still get codes.
//!     `auth::limits::a_flood_of_codes_is_stopped_and_others_still_get_theirs`
//! 28. Forged access tokens → 401.
//!     `auth::tokens::a_forged_token_is_refused`
//! 29. A spent refresh token is used again → The session ends for both holders.
//!     `auth-refresh: a_token_spent_long_ago_ends_the_session_for_both_holders`
//! 30. Another user's room or message → 404, as if it did not exist.
//!     `chat::ids::what_belongs_to_somebody_else_cannot_be_told_from_what_does_not_exist`
//! 31. A slow list read races with a new room → The next list has the room.
//!     `chatroom-list: a_slow_reader_cannot_put_an_old_list_back`
//! 32. The state store is down → Chat goes on; codes and limits are a 503.
//!     `state::without_queue_and_state_store_chat_goes_on_and_codes_do_not`
//! 33. Bodies that are too large, no JSON, too deep, or strange → 413, 400, 415 or 422.
//!     `input::bodies, every test`
//! 34. A handler panics → 500; the next request works.
//!     `functions::a_panic_is_a_500_and_the_process_serves_the_next_request`
//! 35. Connections cut while the function was frozen → The request succeeds on new ones.
//!     `functions::connections_that_were_cut_while_the_function_was_frozen_are_replaced`
//!
//! 36. An access token after log-out everywhere or a reset sets a password, deletes the account → 401.
//!     `auth::sessions::an_ended_session_changes_nothing_for_good`
//! 37. Sessions opened while a password changes → Ended too.
//!     `auth-change-password: a_session_opened_while_the_password_changes_has_ended`
//! 38. A stranger guesses, and asks for codes of somebody else's number → The owner still signs in.
//!     `shared: auth::codes::tests::a_stranger_who_asks_and_guesses_as_much_as_he_may_does_not_keep_the_owner_out`
//! 39. Guesses over many numbers from one address → 429 after 30.
//!     `auth::limits::wrong_guesses_from_one_address_are_limited_whatever_the_number`
//! 40. Codes for many numbers of one country → Capped, with an alarm; others still get theirs.
//!     `auth::limits::codes_of_one_country_are_capped_and_others_still_get_theirs`
//! 41. A sign-up for a number that somebody else is about to verify → Their name and address stay theirs.
//!     `auth::codes::what_waits_with_a_code_is_of_whoever_asked_for_that_one`
//! 42. One refresh token used 8 times at once → Three successors at most; no chain without an end.
//!     `auth-refresh: of_eight_refreshes_at_once_three_get_a_token_and_nobody_is_signed_out`
//! 43. 40 prompts that the model refuses → They count.
//!     `gemini::refused_messages_count_against_the_day`
//! 44. An account is deleted and opened again → The day's use still counts.
//!     `auth::sessions::an_account_that_is_deleted_and_opened_again_has_its_day_used_up`
//! 45. A subscription to another price → Basic.
//!     `payments::checkout::a_subscription_to_another_price_is_not_pro`
//! 46. A user floods as many rooms as there are consumers, or more → A stranger's single message comes next.
//!     `rooms::as_many_busy_rooms_as_there_are_consumers_keep_no_stranger_waiting`
//!     `rooms::a_strangers_message_comes_next_however_many_rooms_another_user_has_waiting`
//! 47. A message's workers die or panic each time → Failed after 8 tries; its room and its batch go on.
//!     `workers::a_message_whose_workers_all_die_is_given_up_and_its_room_goes_on`,
//!     `workers::a_message_past_its_deadline_fails_without_another_call`,
//!     `workers::a_panic_in_one_room_leaves_its_batch_answered`
//! 48. A retry delay of 1e19 s, negative, "0s", no number → Bounded; no panic, no busy loop.
//!     `gemini::a_retry_delay_that_makes_no_sense_is_bounded`
//! 49. An endless reply → Cut at 1 MB; memory is flat.
//!     `gemini::an_endless_reply_is_cut_at_a_megabyte_and_takes_no_memory`
//! 50. 400 rooms wait while the sweep comes every minute → One more wake-up a room in 10 minutes.
//!     `message-sweep: a_room_that_waits_behind_others_is_woken_once_in_ten_minutes`
//! 51. A statement waits for a lock longer than its time → Cancelled on the server, not stored later.
//!     `shared: a_statement_given_up_while_it_waits_for_a_lock_is_cancelled_and_not_stored_later`
//! 52. A room of 64 KB messages and replies → Pages of at most 4 MB.
//!     `chatroom-get: a_page_of_large_messages_ends_at_four_megabytes_as_lambda_sends_it`
//! 53. 50 requests of one user that wait → Three wait, the others are answered at once.
//!     `chat::waits::of_fifty_requests_of_one_user_three_wait_and_the_others_are_answered_at_once`
//! 54. An account is deleted → Its list is no longer in the cache; neither state store nor logs name its number.
//!     `user-delete: the_list_of_a_deleted_account_leaves_the_cache_even_if_the_account_was_gone_before`,
//!     `auth::sessions::neither_the_state_store_nor_a_log_names_a_number`
//! 55. A genuine Stripe event of another account, or about an unknown customer → 200, kept, warned.
//!     `payments::webhook::an_event_about_nobody_here_is_accepted_and_kept_and_stripe_is_not_asked`
//! 56. Postgres becomes read-only under a warm function, Redis a replica → The next request is on the new primary.
//!     `shared: database::tests::a_server_that_became_read_only_is_left_for_the_new_primary`,
//!     `shared: redis::tests::a_server_that_became_a_replica_is_left_for_the_new_primary`
//! 57. Older code on a newer schema; a deploy rolled back over a migration → Works.
//!     `deployment::migration::a_deploy_that_is_rolled_back_over_a_migration_leaves_the_newer_schema`
//! 58. Gemini: a quota of the day, 499, 409, blank replies, errors without a frame, thoughts only → Each in its way.
//!     `gemini::each_way_in_which_gemini_fails_is_met_in_its_own_way`
//! 59. A streaming worker is killed at any moment, and the client comes again → Its text is the reply stored.
//!     `streams::deaths, every test`
//! 60. A stop: queued, answering, during a takeover, twice, after the end → One end.
//!     `streams::stopping, every test; message-stop: every test`,
//!     `shared: messages::stop::tests::a_message_that_is_settled_while_a_stop_waits_is_returned_settled`
//! 61. Blank replies, 400s, cut streams and stops, in any order, all day → Calls, rows and refunds are bounded.
//!     `shared: messages::tests::the_statements_do_what_the_diagram_says_in_any_order`
//! 62. Posts that are stopped before they are asked, without pause → A bounded number a day.
//!     `shared: messages::accept::tests::a_user_without_tokens_or_posts_left_is_told_which_of_them`
//! 63. Codes for hundreds of unknown numbers → Customers and newcomers of their country still get theirs.
//!     `auth::limits::codes_for_unknown_numbers_keep_neither_customers_nor_newcomers_from_theirs`
//! 64. Wrong codes for one number, patiently, for weeks → Locked; its owner gets in from where he did before.
//!     `shared: auth::codes::tests::fifty_wrong_codes_in_a_row_lock_strangers_out_until_the_owner_signs_in_from_home`
//! 65. Guesses with invented challenges from an office's address → Its people still sign in.
//!     `shared: auth::codes::tests::guesses_without_a_living_challenge_leave_those_at_the_same_address_their_own`
//! 66. Anonymous refreshes without pause → Told to wait; nobody else notices.
//!     `auth-refresh: refused_tokens_of_an_address_are_limited_and_good_ones_of_it_are_not`
//! 67. Forged headers about the client's address, with and without the proxy's secret → Ignored; believed.
//!     `auth::limits::a_trusted_proxy_is_believed_about_its_client_and_nobody_else`,
//!     `shared: http::proxy::tests, every test`
//! 68. `secret-get` or `migrate` is invoked with a response address of the caller's → Refused before anything is read.
//!     `deployment::migration::a_forged_event_sends_nothing_to_its_author`, `shared: cloudformation: every test`
//! 69. Every bit pattern of a cursor, event id, challenge, token or key → A page or a 4xx.
//!     `chatroom-get: a_forged_cursor_gives_a_page_or_is_malformed`,
//!     `chatroom-list: a_forged_cursor_gives_a_page_or_is_malformed`, `shared: tests/parsers.rs`
//! 70. An account of a million messages is deleted, and the sweep killed half way → Gone at once, rows in portions.
//!     `auth::sessions::a_deleted_account_is_gone_with_everything`,
//!     `user-delete: an_account_is_gone_at_once_and_does_not_wait_for_its_messages`,
//!     `message-sweep: a_run_that_ends_after_any_portion_is_continued_by_the_next`
//! 71. `null`, a byte order mark, `[DONE]`, lists, split surrogates from the model → Read, or ignored.
//!     `shared: gemini::stream::tests::null_is_read_as_absent_and_a_count_that_cannot_be_read_costs_no_reply`,
//!     `shared: gemini::stream::tests::nothing_that_follows_the_end_of_a_reply_costs_it`
//! 72. A text, and then OTHER, RECITATION, MALFORMED … → What was read is kept.
//!     `shared: gemini::stream::tests::a_text_that_was_seen_is_kept_whatever_ended_it_unless_it_must_not_be_shown`
//! 73. A reply takes longer than it may while its text comes → Kept as cut; asked once.
//!     `gemini::a_reply_that_takes_too_long_is_kept_as_far_as_it_came`
//! 74. One turn is larger than the budget of the history → The next prompt still has it.
//!     `shared: messages::claim::tests::the_last_turn_is_never_forgotten_however_long_it_is`
//! 75. A page is loaded ten times within one reply → The newest reader reads; no 429.
//!     `streams::live::a_page_that_is_loaded_ten_times_within_one_reply_reads_each_time`
//!
//! Many of these at random: `random::after_random_faults_every_message_has_come_to_its_one_end`

mod functions;
mod gemini;
mod posts;
mod queue;
mod random;
mod rooms;
mod state;
mod workers;
