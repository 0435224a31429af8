//! Paying over HTTP: checkout, portal, webhooks, and what follows from them, against the Stripe stand-in.
//!
//! Tests that hold deliveries back, or that script what Stripe answers, run one at a time on a system of their own; the
//! others share one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on must stop"
)]

mod account;
mod checkout;
mod lifecycle;
mod stack;
mod stand_in;

use stack::Stack;

/// Runs each rule on a stack, as a test of its own.
macro_rules! on {
    ($stack:ident: $($module:ident :: $rule:ident),+ $(,)?) => {
        mod $stack {
            $(#[test] fn $rule() { super::Stack::$stack().run(super::$module::$rule); })+
        }
    };
}

on!(shared:
    account::a_subscriber_who_leaves_pays_no_more,
    account::leaving_closes_the_payment_page_that_is_open,
    account::leaving_goes_on_where_it_broke_off,
    account::nobody_can_pay_for_an_account_that_is_gone,
    checkout::a_customer_that_was_deleted_at_stripe_is_replaced,
    checkout::a_key_that_was_used_for_something_else_is_left_behind,
    checkout::a_page_that_expired_is_replaced,
    checkout::an_open_page_is_given_again,
    checkout::nobody_without_a_customer_has_a_portal,
    lifecycle::a_user_subscribes_cancels_falls_behind_and_subscribes_again,
    lifecycle::the_best_of_several_subscriptions_counts,
    lifecycle::whoever_pays_late_keeps_the_first_day_of_being_late,
    stand_in::a_call_that_it_does_not_know_is_a_clear_404,
    stand_in::an_idempotency_key_repeats_the_first_answer_and_refuses_another_request,
    stand_in::its_errors_have_stripes_form,
    stand_in::its_pages_work_without_a_script,
);

on!(alone:
    checkout::an_error_that_stripe_would_repeat_is_left_behind,
    checkout::whoever_paid_without_anybody_saying_so_is_not_sold_a_second_one,
);
