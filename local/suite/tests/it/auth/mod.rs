//! Who gets in: codes, passwords, sessions and access tokens.

mod codes;
mod limits;
mod passwords;
mod sessions;
mod tokens;

use local_suite::harness::{Stack, sample};
use serde_json::{Value, json};

pub use sessions::another_session;

/// The status and the body of a function's response to a client at an address, which only an event can make up.
async fn invoke_from(stack: &Stack, function: &str, address: &str, body: &Value) -> (u64, Value) {
    let mut event = sample(function);
    event["requestContext"]["http"]["sourceIp"] = json!(address);
    event["body"] = body.to_string().into();
    let response = stack.system.invoke(function, &event).await.unwrap();
    let body = response["body"].as_str().unwrap_or_default();
    let body = serde_json::from_str(body).unwrap_or_default();
    (response["statusCode"].as_u64().unwrap(), body)
}

on_every_kind!(
    codes::a_new_code_comes_after_thirty_seconds,
    codes::an_unknown_number_gets_the_same_responses_as_a_known_one,
    codes::a_code_works_once_and_ten_wrong_guesses_an_hour_lock_its_number_and_no_other,
    limits::wrong_guesses_from_one_address_are_limited_whatever_the_number,
    limits::codes_of_one_country_are_capped_and_others_still_get_theirs,
    limits::a_flood_of_codes_is_stopped_and_others_still_get_theirs,
    limits::sms_go_to_known_numbers_only,
    passwords::a_stranger_who_tries_passwords_all_hour_does_not_keep_the_owner_out,
    passwords::guessing_passwords_is_limited_and_codes_still_work,
    sessions::neither_the_state_store_nor_a_log_names_a_number,
);

on!(sqs:
    codes::a_number_is_the_same_however_it_is_written,
    codes::an_unverified_number_owns_nothing_and_leaves_nothing,
    codes::what_waits_with_a_code_is_of_whoever_asked_for_that_one,
    codes::a_stranger_who_asks_for_codes_does_not_stop_the_owners,
    limits::numbers_of_countries_that_are_not_served_get_no_code,
    passwords::right_passwords_are_not_counted,
    passwords::a_password_signs_in_and_a_wrong_one_or_an_unknown_number_does_not,
    passwords::a_reset_ends_every_session,
    passwords::a_change_needs_the_current_password_and_ends_the_other_sessions,
    tokens::a_token_made_like_the_issuers_is_good,
    tokens::a_forged_token_is_refused,
    tokens::a_header_that_is_no_bearer_token_is_refused,
    tokens::every_endpoint_that_needs_a_token_refuses_to_do_without_and_to_be_fooled,
);

on!(redis:
    limits::a_number_gets_five_codes_an_hour_and_others_are_not_affected,
    limits::a_response_does_not_tell_that_sms_failed_or_is_slow,
    limits::an_sms_is_sent_as_its_country_asks_for,
    sessions::an_ended_session_changes_nothing_for_good,
    sessions::an_account_that_is_deleted_and_opened_again_has_its_day_used_up,
    sessions::logging_out_ends_this_session_or_all,
    sessions::a_deleted_account_is_gone_with_everything,
);
