//! Tests that secrets reach the functions that use them, and nothing else.

use serde_json::{Value, json};

use super::stack::run;

/// CloudFormation's limit is 60 for the whole template; each may be one more secret of a function.
const MOST_REFERENCES: usize = 20;

#[test]
fn the_processed_template_has_few_dynamic_references_and_no_function_adds_one() {
    run(async |deployed| {
        let template = deployed.deployment.template.to_string();
        assert!(template.contains("AWS::Lambda::Function"), "it was transformed");
        let references = template.matches("{{resolve:").count();
        assert!(references <= MOST_REFERENCES, "{references}");
        let functions = template.matches(r#""Type":"AWS::Lambda::Function""#).count();
        assert!(references < functions, "{references} for {functions} functions");
    });
}

#[test]
fn no_secret_is_in_the_template_the_stack_or_the_logs() {
    run(async |deployed| {
        let aws = &deployed.deployment.account.aws;
        let get = json!({ "SecretId": "chat" });
        let secret = aws.act("secretsmanager", "secretsmanager.GetSecretValue", &get);
        let secret = secret.await.unwrap();
        let members: Value = serde_json::from_str(secret["SecretString"].as_str().unwrap()).unwrap();
        let members = members.as_object().unwrap();
        assert!(members.len() > 5, "the secret was read");

        let mut shown = vec![deployed.deployment.template.to_string()];
        shown.push(format!("{:?}", deployed.deployment.outputs));
        for action in ["DescribeStacks", "DescribeStackEvents", "DescribeStackResources"] {
            let form = format!("Action={action}&Version=2010-05-15&StackName=chat-local");
            let answer = aws.query("cloudformation", &form).await.unwrap();
            assert!(answer.contains("chat-local"), "{answer}");
            shown.push(answer);
        }
        let groups = json!({ "logGroupName": deployed.deployment.outputs["LogGroup"] });
        let logs = aws.act("logs", "Logs_20140328.FilterLogEvents", &groups);
        let logs = logs.await.unwrap().to_string();
        assert!(logs.contains("the secret was read"), "{logs}");
        shown.push(logs);
        for (name, value) in members {
            let value = value.as_str().unwrap();
            // Of a private key, only one member is not in the public one too.
            let key: Value = serde_json::from_str(value).unwrap_or_default();
            let value = key["d"].as_str().unwrap_or(value);
            if value.len() < 12 {
                continue; // made up for a stand-in: `local` is in every name of the stack
            }
            for text in &shown {
                assert!(!text.contains(value), "{name} is in {text:.500}");
            }
        }
    });
}

#[test]
fn each_function_gets_its_own_secrets_only() {
    run(async |deployed| {
        let aws = &deployed.deployment.account.aws;
        let variables = async |function: &str| {
            let path = format!("/2015-03-31/functions/chat-local-{function}/configuration");
            let answer = aws.rest("lambda", axum::http::Method::GET, &path, &Value::Null);
            answer.await.unwrap()["Environment"]["Variables"].clone()
        };
        let answer = variables("message-answer").await;
        assert_eq!(answer["GEMINI_API_KEY"], "local");
        assert!(answer["DATABASE_URL"].as_str().unwrap().starts_with("postgres"));
        for name in ["JWT_PRIVATE_KEY", "OTP_PEPPER", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"] {
            assert_eq!(answer.get(name), None, "{name}");
        }
        let get = variables("secret-get").await;
        assert_eq!(get["DATABASE_URL"], "", "it runs before there is one");
    });
}
