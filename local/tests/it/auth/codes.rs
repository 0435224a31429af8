//! One-time codes: whoever has the code gets in, once, and nobody else does.

use serde_json::{Value, json};

use local::harness::Stack;

pub async fn a_new_code_comes_after_thirty_seconds(stack: &Stack) {
    let mobile = stack.mobile();
    let first = stack
        .post("/auth/signup", &json!({ "mobile": mobile }))
        .await;
    assert_eq!(
        (&first.body["expires_in"], &first.body["resend_after"]),
        (&json!(300), &json!(30))
    );
    let soon = stack
        .post("/auth/send-otp", &json!({ "mobile": mobile }))
        .await;
    assert_eq!(soon.status, 429);
    assert!(soon.header("retry-after").parse::<u32>().unwrap() <= 31);
    let code = first.body["otp"].as_str().unwrap();
    assert_eq!(
        stack.verify(&mobile, code).await.status,
        200,
        "the first code still works"
    );
}

pub async fn an_unknown_number_gets_the_same_responses_as_a_known_one(stack: &Stack) {
    let user = stack.user().await;
    let unknown = stack.mobile();
    // Signing up took the user's sign-in code of these thirty seconds.
    let again = stack
        .post("/auth/send-otp", &json!({ "mobile": user.mobile }))
        .await;
    assert_eq!(again.status, 429);
    assert_eq!(
        stack
            .post("/auth/send-otp", &json!({ "mobile": unknown }))
            .await
            .status,
        202
    );
    let again = stack
        .post("/auth/send-otp", &json!({ "mobile": unknown }))
        .await;
    assert_eq!(again.status, 429);

    let forgot = async |mobile| {
        stack
            .post("/auth/forgot-password", &json!({ "mobile": mobile }))
            .await
    };
    let (known, other) = (forgot(&user.mobile).await, forgot(&unknown).await);
    assert_eq!((known.status, other.status), (202, 202));
    let names = |body: &Value| {
        body.as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&known.body), names(&other.body));

    let (known, other) = (
        stack.verify(&user.mobile, "000000").await,
        stack.verify(&unknown, "000000").await,
    );
    assert_eq!((known.status, other.status), (401, 401));
    assert_eq!(known.body["detail"], other.body["detail"]);
    let otp = forgot(&stack.mobile()).await.body["otp"].clone();
    let reset = json!({ "mobile": unknown, "otp": otp, "new_password": "correct horse battery" });
    assert_eq!(stack.post("/auth/reset-password", &reset).await.status, 401);
    assert_eq!(
        stack
            .count(&format!("users where mobile = '{unknown}'"))
            .await,
        0
    );
}

pub async fn a_number_is_the_same_however_it_is_written(stack: &Stack) {
    let mobile = stack.mobile();
    let written = format!(
        "{} ({}) {}-{}",
        &mobile[..2],
        &mobile[2..5],
        &mobile[5..8],
        &mobile[8..]
    );
    let code = stack.code(&written).await;
    let response = stack.verify(&mobile, &code).await;
    assert_eq!(
        (response.status, &response.body["user"]["mobile"]),
        (200, &json!(mobile))
    );
}

pub async fn an_unverified_number_owns_nothing(stack: &Stack) {
    let mobile = stack.mobile();
    let stranger = json!({ "mobile": mobile, "name": "Somebody else" });
    let accepted = stack.post("/auth/signup", &stranger).await.expect(202);
    let code = stack.received_code(&mobile, &accepted).await;
    assert_eq!(stack.verify(&mobile, &code).await.status, 200);
    // Once the number is proved, signing up again changes nothing.
    let sql = format!(
        "users where mobile = '{mobile}' and name = 'Somebody else' and password_hash is null"
    );
    assert_eq!(stack.count(&sql).await, 1);
    stack
        .post(
            "/auth/signup",
            &json!({ "mobile": mobile, "name": "Mallory" }),
        )
        .await;
    assert_eq!(stack.count(&sql).await, 1);
}

/// A code that is not this one.
fn other_than(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

/// Fault 26; more of it is tested beside the code flow, in `shared`.
pub async fn a_code_works_once_and_ten_wrong_guesses_an_hour_lock_its_number_and_no_other(
    stack: &Stack,
) {
    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    assert_eq!(stack.verify(&mobile, &code).await.status, 200);
    let spent = stack.verify(&mobile, &code).await;
    assert_eq!(spent.problem(), (401, "wrong-code"));

    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    for guess in 0..5 {
        let status = stack.verify(&mobile, &other_than(&code)).await.status;
        assert_eq!(status, 401, "guess {guess}");
    }
    // Another code for another purpose, asked for in between, gives five guesses at it and not ten.
    let forgot = json!({ "mobile": mobile });
    let accepted = stack.post("/auth/forgot-password", &forgot).await;
    let code = &stack.received_code(&mobile, &accepted.body).await;
    let reset = async |code: &str| {
        let reset =
            json!({ "mobile": mobile, "otp": code, "new_password": "correct horse battery" });
        stack.post("/auth/reset-password", &reset).await.status
    };
    for guess in 5..10 {
        assert_eq!(reset(&other_than(code)).await, 401, "guess {guess}");
    }
    assert_eq!(reset(code).await, 429);
    let locked = stack.verify(&mobile, "000000").await;
    assert_eq!(locked.status, 429);
    assert!(locked.header("retry-after").parse::<u32>().unwrap() > 3_500);
    assert_eq!(
        locked.header("ratelimit-policy"),
        "\"guesses-per-number\";q=10;w=3600"
    );

    stack.user().await;
}
