//! Tests the system over HTTP, as its users meet it, on both kinds of queue and state store.
//!
//! | Folder | What it tests |
//! | --- | --- |
//! | [`auth`] | codes, passwords, sessions and access tokens |
//! | [`chat`] | chatrooms, messages and replies |
//! | [`clients`] | generated clients, and requests made up from `openapi.yaml` |
//! | [`payments`] | checkout, webhook and plan, against the Stripe stand-in |
//! | [`input`] | whatever is sent, the response is the documented one |
//! | [`faults`] | what the system survives; its table names the test for each fault |
//! | [`contract`] | routes, functions, events, `openapi.yaml` and `template.yaml` say the same |
//! | [`counts`] | statements, calls and scanned rows of a warm request of each function |
//! | [`deployment`] | the AWS stack, deployed into MiniStack |
//! | [`partitions`] | the schema and every statement, spread over partitions by user |
//! | [`streams`] | replies that are passed on while they are written |
//! | [`supervisor`] | the local stack does what Lambda, API Gateway and SQS would |
//! | [`vendors`] | the stand-ins satisfy the official clients of Gemini and Stripe |
//!
//! A rule is a function that gets a running system. The macros of [`stacks`] make tests of it: on both kinds where it
//! touches the queue or the state store, and on one elsewhere. Rules share their systems, so each uses users and
//! prompts of its own; one that stops a part of a system, or that counts what happens in it, starts
//! [another](local_suite::harness::Stack::another).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]

#[macro_use]
mod stacks;
mod auth;
mod chat;
mod clients;
mod contract;
mod counts;
mod deployment;
mod faults;
mod input;
mod partitions;
mod payments;
mod stops;
mod streams;
mod supervisor;
mod vendors;
