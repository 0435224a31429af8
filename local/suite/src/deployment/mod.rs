//! Deploys the AWS stack on this machine: SAM deploys `template.yaml` into a MiniStack that enforces its permissions,
//! with the functions as they were built for the local stack, by the commands of `docs/operations.md`.
//!
//! MiniStack runs the functions, the queue's mapping and the schedules. It does not read an API's routes out of the
//! transformed template, so they are made here from what stands there.

mod checkout;

use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow, ensure};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

pub use checkout::{Checkout, Session, commands};

use local_stack::{
    machine::{
        ports::Port,
        process::{self, Group},
        progress::Step,
        tools::{self, Tools},
        workspace::Workspace,
    },
    sam,
    services::{
        Services,
        aws::{Aws, MiniStack, Strictness},
        postgres::connect,
    },
    settings::{Settings, Variables},
};
use local_stand_ins::{
    gemini::Gemini,
    stripe::{Reserved, Stripe},
};

/// How to deploy, as people read it.
pub const DOCUMENT: &str = include_str!("../../../../docs/operations.md");

/// Comes before the commands that deploy into MiniStack.
const TITLE: &str = "**Try the stack without an account.**";

/// The address of MiniStack in those commands, which is that of `cargo local`.
const ADDRESS: &str = "http://127.0.0.1:9004";

/// As `samconfig.toml` names it for `local`.
const STACK: &str = "chat-local";

/// An AWS account on this machine, and a checkout to deploy from. Both end when it is dropped.
pub struct Account {
    /// AWS, as somebody who may do everything.
    pub aws: Aws,
    /// The checkout.
    pub checkout: Checkout,
    /// A Postgres database without a schema.
    pub database_url: String,
    _ministack: MiniStack,
}

impl Account {
    /// Opens one for the functions, which must be built, with a database of `services`.
    pub async fn open(services: &Services, name: &str, strictness: Strictness) -> Result<Self> {
        let workspace = Workspace::find()?;
        let tools = Tools::install(&workspace.target, &tools::STACK).await?;
        let directory = TempDir::with_prefix_in(format!("{name}-"), workspace.target.join("local"))?;
        let directory = directory.keep();
        let group = Group::new(Some(&directory))?; // it is large, so it goes even when nothing is dropped
        let ministack = MiniStack::start(&tools, group, Port::Free, &directory, strictness);
        let name = format!("{name}_{}", std::process::id());
        let (ministack, database_url, checkout) = tokio::try_join!(
            ministack,
            services.create_unmigrated_database(&name),
            Checkout::lay_out(&workspace, &directory),
        )?;
        let aws = Aws::at(ministack.endpoint.clone())?;
        Ok(Self { aws, checkout, database_url, _ministack: ministack })
    }
}

/// The stack, deployed. Everything ends when it is dropped.
pub struct Deployment {
    /// Where the API is.
    pub url: String,
    /// A client for it, which knows where its host is.
    pub client: Client,
    /// Where it is deployed.
    pub account: Account,
    /// Gemini's stand-in.
    pub gemini: Gemini,
    /// Stripe's.
    pub stripe: Stripe,
    /// The stack's outputs by name.
    pub outputs: Variables,
    /// The template as CloudFormation sees it, without what SAM adds to CloudFormation.
    pub template: Value,
    /// What the documented commands showed.
    pub transcript: String,
}

impl Deployment {
    /// Deploys the stack by the documented commands, with these parameters beside those of `cargo local`.
    pub async fn start(services: &Services, parameters: &[(&str, &str)]) -> Result<Self> {
        let step = Step::begin("Deploying the AWS stack into MiniStack");
        let account = Account::open(services, "deployment", Strictness::Enforcing).await?;
        let (aws, checkout) = (&account.aws, &account.checkout);
        let gemini = Gemini::start(Port::Free.listen()?)?;
        let stripe = Reserved::at(Port::Free.listen()?)?;
        let mut own = Variables::from([("DATABASE_URL".to_owned(), account.database_url.clone())]);
        own.extend(gemini.variables());
        own.extend(stripe.variables());
        let variables = Settings::default().variables(own)?;

        aws.keep_secrets(&variables).await?;
        let mut given = sam::parameters(&variables);
        given.extend(parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        checkout.write_parameters(&given)?;
        let documented = commands(DOCUMENT, TITLE)?;
        ensure!(documented.contains(ADDRESS), "the commands do not name MiniStack");
        let transcript = checkout.run(&documented.replace(ADDRESS, &aws.endpoint)).await?;
        let outputs = outputs(checkout, aws).await?;
        let template = processed_template(aws).await?;
        let api = add_routes(aws, &template).await?;
        step.done();

        // By host, as on AWS. Not every machine's resolver knows what is below localhost.
        let port = aws.endpoint.rsplit(':').next().context("no port")?.parse()?;
        let host = format!("{api}.execute-api.localhost");
        let client = local_stack::machine::http::builder()?.resolve(&host, SocketAddr::from(([127, 0, 0, 1], port)));
        let webhook = format!("{}/_aws/execute-api/{api}/$default/webhook/stripe", aws.endpoint);
        Ok(Self {
            url: format!("http://{host}:{port}"),
            client: client.build()?,
            gemini,
            stripe: stripe.serve(webhook, &variables, local_stack::machine::http::client()?),
            account,
            outputs,
            template,
            transcript,
        })
    }

    /// Connects to its database.
    pub async fn database(&self) -> Result<tokio_postgres::Client> {
        connect(&self.account.database_url).await
    }
}

/// Reads the outputs of the stack.
async fn outputs(checkout: &Checkout, aws: &Aws) -> Result<Variables> {
    let mut list = checkout.command("sam")?;
    list.args(["list", "stack-outputs", "--config-env", "local", "--output", "json", "--stack-name", STACK]);
    let outputs: Vec<Value> = serde_json::from_str(&process::run(list.envs(aws.variables())).await?)?;
    let output = |output: &Value| {
        let text = |name: &str| output[name].as_str().map(str::to_owned);
        Some((text("OutputKey")?, text("OutputValue")?))
    };
    Ok(outputs.iter().filter_map(output).collect())
}

async fn processed_template(aws: &Aws) -> Result<Value> {
    let form = format!("Action=GetTemplate&Version=2010-05-15&StackName={STACK}&TemplateStage=Processed");
    let answer = aws.query("cloudformation", &form).await?;
    let answer = roxmltree::Document::parse(&answer)?;
    let body = answer.descendants().find(|node| node.tag_name().name() == "TemplateBody");
    let body = body.and_then(|node| node.text()).context("no template")?;
    serde_json::from_str(body).context("the processed template is not JSON")
}

/// Makes the routes of the template's API, and returns the API's id.
async fn add_routes(aws: &Aws, template: &Value) -> Result<String> {
    let apis = aws.rest("apigateway", Method::GET, "/v2/apis", &Value::Null).await?;
    let api = apis["items"][0]["apiId"].as_str().context("there is no API")?;
    let paths = &template["Resources"]["Api"]["Properties"]["Body"]["paths"];
    for (path, item) in members(paths) {
        for (method, operation) in members(item) {
            let integration = &operation["x-amazon-apigateway-integration"];
            let function = function_of(integration, template)
                .ok_or_else(|| anyhow!("{method} {path} leads nowhere: {integration}"))?;
            let integration = json!({
                "integrationType": "AWS_PROXY",
                "integrationUri": format!("arn:aws:lambda:{}:000000000000:function:{function}", aws.region),
                "payloadFormatVersion": integration["payloadFormatVersion"],
            });
            let integrations = format!("/v2/apis/{api}/integrations");
            let made = aws.rest("apigateway", Method::POST, &integrations, &integration).await?;
            let id = made["integrationId"].as_str().context("no integration")?;
            let route = json!({
                "routeKey": format!("{} {path}", method.to_uppercase()),
                "target": format!("integrations/{id}"),
            });
            let routes = format!("/v2/apis/{api}/routes");
            aws.rest("apigateway", Method::POST, &routes, &route).await?;
        }
    }
    Ok(api.to_owned())
}

/// Returns the name of the function that an integration calls.
fn function_of(integration: &Value, template: &Value) -> Option<String> {
    let uri = integration["uri"]["Fn::Sub"].as_str()?;
    let resource = uri.split_once("functions/${")?.1.split_once(".Arn}")?.0;
    let name = &template["Resources"][resource]["Properties"]["FunctionName"]["Fn::Sub"];
    Some(name.as_str()?.replace("${AWS::StackName}", STACK))
}

/// Returns the members of an object, and none of anything else.
fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}
