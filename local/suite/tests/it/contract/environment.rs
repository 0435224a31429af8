//! Tests that the variables of each function have room. Lambda takes 4 096 bytes for their names and values together,
//! and refuses more in the middle of a deploy.

use local_suite::harness::contract::{CONTRACT, members};
use serde_json::{Value, json};
use shared::secrets::LONGEST_MEMBER;

use super::{
    template::functions,
    workspace::{WORKSPACE, array, text},
};

/// The limit of Lambda.
const ROOM: usize = 4096;

/// The longest name of a function, which bounds that of the stack.
const LONGEST_FUNCTION: usize = 64;

/// What SQS puts before the name of a queue, in the region with the longest name.
const QUEUE_PREFIX: &str = "https://sqs.ap-southeast-7.amazonaws.com/123456789012/";

/// What the id of a stack is, apart from the stack's name.
const STACK_ID: &str = "arn:aws:cloudformation:ap-southeast-7:123456789012:stack//019b0000-0000-7000-8000-000000000002";

/// What CloudFormation puts after the name of a resource.
const SUFFIX: &str = "-0123456789ABC";

#[test]
fn the_longest_variables_of_every_function_have_room() {
    let globals = &WORKSPACE.template["Globals"]["Function"]["Environment"]["Variables"];
    for (name, function) in functions() {
        let own = &function["Properties"]["Environment"]["Variables"];
        let inherited = members(globals).filter(|(variable, _)| own.get(variable).is_none());
        let sizes = members(own).chain(inherited).map(|(variable, value)| variable.len() + longest(value));
        let size: usize = sizes.sum();
        assert!(size <= ROOM, "{name}: {size} bytes");
    }
}

/// Returns how many bytes a value of the template may have once it is deployed.
fn longest(value: &Value) -> usize {
    // A condition and the two values between which it decides.
    if let [_, values @ ..] = array(value) {
        return values.iter().map(longest).max().unwrap_or_default();
    }
    let name = text(value);
    match &WORKSPACE.template["Parameters"][&name] {
        Value::Null if name.starts_with("Secret.") => LONGEST_MEMBER,
        Value::Null if name == "WakeUpQueue" => QUEUE_PREFIX.len() + resource(&name),
        Value::Null if name == "StateTable" => resource(&name),
        Value::Null if name == "AWS::StackId" => STACK_ID.len() + stack(),
        Value::Null => name.len(),
        parameter => longest_parameter(&name, parameter),
    }
}

/// Returns the length of the name that CloudFormation makes of a resource's: the stack, the resource, and a suffix.
fn resource(name: &str) -> usize {
    stack() + "-".len() + name.len() + SUFFIX.len()
}

/// Returns the length of the longest name of a stack, which the functions' names have at their beginning.
fn stack() -> usize {
    let function = functions().keys().map(String::len).max().unwrap_or_default();
    LONGEST_FUNCTION - "-".len() - function
}

fn longest_parameter(name: &str, parameter: &Value) -> usize {
    if let Some(values) = parameter["AllowedValues"].as_array() {
        return values.iter().map(|value| text(value).len()).max().unwrap_or_default();
    }
    if parameter["Type"] == "Number" {
        return u32::MAX.to_string().len();
    }
    let characters = parameter["MaxLength"].as_u64();
    let characters = characters.unwrap_or_else(|| panic!("{name} is given to functions and needs a MaxLength"));
    let bytes = if allows(parameter, "é") { '🌉'.len_utf8() } else { 1 };
    usize::try_from(characters).unwrap() * bytes
}

/// Returns whether a parameter's pattern allows a value; CloudFormation holds it against the whole value.
pub fn allows(parameter: &Value, value: &str) -> bool {
    let Some(pattern) = parameter["AllowedPattern"].as_str() else { return true };
    CONTRACT.errors(&json!({ "pattern": format!("^({pattern})$") }), &json!(value)).is_empty()
}
