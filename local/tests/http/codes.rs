//! One-time codes: whoever has the code gets in, once, and nobody else does.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::stack::{Stack, other_than};

pub async fn a_code_works_once(stack: &Stack) {
    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    assert_eq!(stack.verify(&mobile, &code).await.status, 200);
    let spent = stack.verify(&mobile, &code).await;
    assert_eq!(
        (spent.status, &spent.body["type"]),
        (401, &json!("/problems/wrong-code"))
    );
}

pub async fn a_code_allows_five_guesses(stack: &Stack) {
    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    for _ in 0..5 {
        assert_eq!(stack.verify(&mobile, &other_than(&code)).await.status, 401);
    }
    assert_eq!(
        stack.verify(&mobile, &code).await.status,
        401,
        "the sixth guess is too late"
    );

    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    for _ in 0..4 {
        stack.verify(&mobile, &other_than(&code)).await;
    }
    assert_eq!(
        stack.verify(&mobile, &code).await.status,
        200,
        "the fifth is not"
    );
}

pub async fn ten_guesses_an_hour_lock_a_number_across_codes_and_no_other_number(stack: &Stack) {
    let mobile = stack.mobile();
    stack.code(&mobile).await;
    for guess in 0..10 {
        let status = stack.verify(&mobile, "000000").await.status;
        assert_eq!(status, 401, "guess {guess}");
    }
    let locked = stack.verify(&mobile, "000000").await;
    assert_eq!(locked.status, 429);
    assert!(
        locked.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 3_500
    );
    assert_eq!(
        locked.headers["ratelimit-policy"],
        "\"guesses-per-number\";q=10;w=3600"
    );

    // Another code, for another purpose, does not help.
    let answer = stack
        .post("/auth/forgot-password", &json!({ "mobile": mobile }))
        .await;
    let reset = json!({ "mobile": mobile, "otp": answer.body["otp"], "new_password": "correct horse battery" });
    assert_eq!(stack.post("/auth/reset-password", &reset).await.status, 429);

    stack.user().await;
}

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
    assert!(
        soon.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            <= 31
    );
    let code = first.body["otp"].as_str().unwrap();
    assert_eq!(
        stack.verify(&mobile, code).await.status,
        200,
        "the first code still works"
    );
}

pub async fn a_hundred_right_guesses_at_once_sign_in_once(stack: &Stack) {
    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    let answers = join_all((0..100).map(|_| stack.verify(&mobile, &code))).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        1
    );
    assert!(
        answers
            .iter()
            .all(|answer| [200, 401, 429].contains(&answer.status))
    );
    assert_eq!(
        stack
            .count(&format!(
                "sessions join users on users.id = user_id where mobile = '{mobile}'"
            ))
            .await,
        1
    );
}

pub async fn unknown_numbers_get_the_same_answers(stack: &Stack) {
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
    let answer = stack.verify(&mobile, &code).await;
    assert_eq!(
        (answer.status, &answer.body["user"]["mobile"]),
        (200, &json!(mobile))
    );
}

pub async fn an_unverified_number_owns_nothing(stack: &Stack) {
    let mobile = stack.mobile();
    let stranger = json!({ "mobile": mobile, "name": "Somebody else" });
    let code = stack.post("/auth/signup", &stranger).await.body["otp"].clone();
    let owner = stack.verify(&mobile, code.as_str().unwrap()).await;
    assert_eq!(owner.status, 200);
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
