//! Who gets in: codes, passwords, sessions and access tokens.

mod codes;
mod limits;
mod passwords;
mod sessions;
mod tokens;

on_every_kind!(
    codes::a_new_code_comes_after_thirty_seconds,
    codes::an_unknown_number_gets_the_same_responses_as_a_known_one,
    codes::a_code_works_once_and_ten_wrong_guesses_an_hour_lock_its_number_and_no_other,
    limits::a_flood_of_codes_is_stopped_and_others_still_get_theirs,
    limits::sms_go_to_known_numbers_only,
    passwords::guessing_passwords_is_limited_and_codes_still_work,
);

on!(sqs:
    codes::a_number_is_the_same_however_it_is_written,
    codes::an_unverified_number_owns_nothing,
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
    sessions::logging_out_ends_this_session_or_all,
    sessions::a_deleted_account_is_gone_with_everything,
);
