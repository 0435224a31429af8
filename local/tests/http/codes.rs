//! One-time codes: whoever has the code gets in, once, and nobody else does.

use serde_json::{Value, json};

use crate::stack::Stack;

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
