//! One-time codes: whoever has the code gets in, once, and nobody else does.

use local_suite::harness::{Sent, Stack};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{invoke_from, limits::RESEND_AFTER};

on_every_kind!(
    a_new_code_comes_after_thirty_seconds,
    an_unknown_number_gets_the_same_responses_as_a_known_one,
    a_code_works_once_and_ten_wrong_guesses_an_hour_lock_its_number_and_no_other,
);

on!(sqs:
    a_number_is_the_same_however_it_is_written,
    an_unverified_number_owns_nothing_and_leaves_nothing,
    what_waits_with_a_code_is_of_whoever_asked_for_that_one,
    a_stranger_who_asks_for_codes_does_not_stop_the_owners,
);

pub async fn a_new_code_comes_after_thirty_seconds(stack: &Stack) {
    let mobile = stack.mobile();
    let first = stack.post("/auth/signup", &json!({ "mobile": mobile })).await;
    assert_eq!((&first.body["expires_in"], &first.body["resend_after"]), (&json!(300), &json!(30)));
    let soon = stack.post("/auth/send-otp", &json!({ "mobile": mobile })).await;
    assert_eq!(soon.status, 429);
    assert!(soon.header("retry-after").parse::<u32>().unwrap() <= 31);
    let sent = stack.received(&mobile, &first.body).await;
    assert_eq!(stack.verify(&mobile, &sent).await.status, 200, "the first code still works");
}

pub async fn an_unknown_number_gets_the_same_responses_as_a_known_one(stack: &Stack) {
    let user = stack.user().await;
    let unknown = stack.mobile();
    // Signing up took the user's sign-in code of these thirty seconds.
    let again = stack.post("/auth/send-otp", &json!({ "mobile": user.mobile })).await;
    assert_eq!(again.status, 429);
    assert_eq!(stack.post("/auth/send-otp", &json!({ "mobile": unknown })).await.status, 202);
    let again = stack.post("/auth/send-otp", &json!({ "mobile": unknown })).await;
    assert_eq!(again.status, 429);

    let forgot = async |mobile| stack.post("/auth/forgot-password", &json!({ "mobile": mobile })).await;
    let (known, other) = (forgot(&user.mobile).await, forgot(&unknown).await);
    assert_eq!((known.status, other.status), (202, 202));
    let names = |body: &Value| body.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&known.body), names(&other.body));

    let (known, other) = (stack.received(&user.mobile, &known.body).await, stack.received(&unknown, &other.body).await);
    let reset = async |mobile: &str, sent: &Sent| {
        let response = stack.reset(mobile, sent, "correct horse battery").await;
        (response.status, response.body["detail"].clone())
    };
    let wrong = reset(&user.mobile, &known.wrong()).await;
    assert_eq!(wrong.0, 401);
    assert_eq!(reset(&unknown, &other.wrong()).await, wrong);
    assert_eq!(reset(&unknown, &other).await, wrong, "it opens nothing");
    assert_eq!(stack.count(&format!("users where mobile = '{unknown}'")).await, 0);
}

pub async fn a_number_is_the_same_however_it_is_written(stack: &Stack) {
    let mobile = stack.mobile();
    let written = format!("{} ({}) {}-{}", &mobile[..2], &mobile[2..5], &mobile[5..8], &mobile[8..]);
    let sent = stack.code(&written).await;
    let response = stack.verify(&mobile, &sent).await;
    assert_eq!((response.status, &response.body["user"]["mobile"]), (200, &json!(mobile)));
}

pub async fn an_unverified_number_owns_nothing_and_leaves_nothing(stack: &Stack) {
    let mobile = stack.mobile();
    let sent = stack.code(&mobile).await;
    let rows = format!("users where mobile = '{mobile}'");
    assert_eq!(stack.count(&rows).await, 0, "until it is verified");
    let user = stack.verify(&mobile, &sent).await.expect(200)["user"].take();
    assert_eq!((&user["name"], &user["plan"]), (&json!("Ada"), &json!("basic")));
    assert_eq!(stack.count(&rows).await, 1);
}

pub async fn what_waits_with_a_code_is_of_whoever_asked_for_that_one(stack: &Stack) {
    let mobile = stack.mobile();
    let mine = json!({ "mobile": mobile, "name": "Ada", "email": "ada@example.com" });
    let mine = stack.code_of("/auth/signup", &mine).await;
    // Somebody else signs the number up meanwhile, and again once it is proved.
    let theirs = json!({ "mobile": mobile, "name": "Mallory", "email": "mallory@example.com" });
    for address in ["203.0.113.7", "203.0.113.8"] {
        let (status, accepted) = invoke_from(stack, "auth-signup", address, &theirs).await;
        assert_eq!(status, 202);
        let user = if address == "203.0.113.7" {
            stack.verify(&mobile, &mine).await.expect(200)
        } else {
            let sent = stack.received(&mobile, &accepted).await;
            stack.verify(&mobile, &sent).await.expect(200)
        };
        let user = (&user["user"]["name"], &user["user"]["email"]);
        assert_eq!(user, (&json!("Ada"), &json!("ada@example.com")));
    }
}

/// More of it is tested beside the code flow.
pub async fn a_stranger_who_asks_for_codes_does_not_stop_the_owners(stack: &Stack) {
    let mobile = stack.mobile();
    let mine = stack.code(&mobile).await;
    let number = json!({ "mobile": mobile });
    let stranger = async |address: &str| {
        let (status, _) = invoke_from(stack, "auth-signup", address, &number).await;
        status
    };
    assert_eq!(stranger("203.0.113.7").await, 202);
    assert_eq!(stranger("203.0.113.7").await, 429);
    let another = stack.code_of("/auth/forgot-password", &number).await;
    assert_eq!(stack.verify(&mobile, &mine).await.status, 200);
    let reset = stack.reset(&mobile, &another, "correct horse battery").await;
    assert_eq!(reset.status, 204);
}

/// More of it is tested beside the code flow, in `shared`.
pub async fn a_code_works_once_and_ten_wrong_guesses_an_hour_lock_its_number_and_no_other(stack: &Stack) {
    let mobile = stack.mobile();
    let sent = stack.code(&mobile).await;
    assert_eq!(stack.verify(&mobile, &sent).await.status, 200);
    let spent = stack.verify(&mobile, &sent).await;
    assert_eq!(spent.problem(), (401, "wrong-code"));

    let mobile = stack.mobile();
    let sent = stack.code(&mobile).await;
    for guess in 0..5 {
        let status = stack.verify(&mobile, &sent.wrong()).await.status;
        assert_eq!(status, 401, "guess {guess}");
    }
    let tired = stack.verify(&mobile, &sent).await;
    assert_eq!(tired.problem(), (401, "wrong-code"), "five guesses a code");
    // Another code for another purpose gives five guesses at it and not ten.
    let forgot = json!({ "mobile": mobile });
    let sent = stack.code_of("/auth/forgot-password", &forgot).await;
    let reset = async |sent: &Sent| stack.reset(&mobile, sent, "correct horse battery").await;
    for guess in 5..10 {
        assert_eq!(reset(&sent.wrong()).await.status, 401, "guess {guess}");
    }
    let (_, accepted) = invoke_from(stack, "auth-signup", "203.0.113.7", &forgot).await;
    let elsewhere = stack.received(&mobile, &accepted).await;
    sleep(RESEND_AFTER).await;
    let sent = stack.code(&mobile).await;
    let locked = stack.verify(&mobile, &sent).await;
    assert_eq!(locked.status, 429);
    assert!(locked.header("retry-after").parse::<u32>().unwrap() > 3_400);
    assert_eq!(locked.header("ratelimit-policy"), "\"guesses\";q=10;w=3600");

    let response = stack.verify(&mobile, &elsewhere).await;
    assert_eq!(response.status, 200, "a code asked for at another address");
    stack.user().await;
}
