//! Deploys the AWS stack on this machine: SAM deploys `template.yaml` into a MiniStack that enforces its permissions,
//! with the functions as they were built for the local stack.
//!
//! MiniStack runs the functions, the queue's mapping and the schedules. It does not read an API's routes out of the
//! transformed template, so they are made here from what stands there.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, task::JoinSet};

use local_stack::{
    machine::{
        ports::Port,
        process::{self, Group},
        progress::Step,
        tools::{self, Packages, Tools},
        workspace::Workspace,
    },
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

/// SAM and the linter of CloudFormation.
const SAM: Packages = Packages {
    directory: "local/sam",
    requirements: include_str!("../../python/sam.txt"),
    title: "Installing SAM (once)",
};

/// As `samconfig.toml` names it for `local`.
const STACK: &str = "chat-local";

/// The stack, deployed. Everything ends when it is dropped.
pub struct Deployment {
    /// Where the API is.
    pub url: String,
    /// A client for it, which knows where its host is.
    pub client: Client,
    /// AWS, as somebody who may do everything.
    pub aws: Aws,
    /// Gemini's stand-in.
    pub gemini: Gemini,
    /// Stripe's.
    pub stripe: Stripe,
    /// The stack's outputs by name.
    pub outputs: Variables,
    /// The template as CloudFormation sees it, without what SAM adds to CloudFormation.
    pub template: Value,
    /// Its Postgres database.
    pub database_url: String,
    _ministack: MiniStack,
}

impl Deployment {
    /// Deploys the functions, which must be built, with a database of `services`.
    pub async fn start(services: &Services, parameters: &[&str]) -> Result<Self> {
        let workspace = Workspace::find()?;
        let tools = Tools::install(&workspace.target, &tools::STACK).await?;
        let sam = Sam::install(&workspace).await?;
        let directory = TempDir::with_prefix_in("deployment-", workspace.target.join("local"))?;
        let directory = directory.keep();
        let group = Group::new(Some(&directory))?; // it is large, so it goes even when nothing is dropped
        let step = Step::begin("Deploying the AWS stack into MiniStack");

        let strictness = Strictness::Enforcing;
        let ministack = MiniStack::start(&tools, group, Port::Free, &directory, strictness);
        let name = format!("deployment_{}", std::process::id());
        let (ministack, database_url, ()) =
            tokio::try_join!(ministack, services.create_unmigrated_database(&name), stage(&workspace, &directory),)?;
        let aws = Aws::at(ministack.endpoint.clone())?;
        let gemini = Gemini::start(Port::Free.listen()?)?;
        let stripe = Reserved::at(Port::Free.listen()?)?;
        let mut own = Variables::from([("DATABASE_URL".to_owned(), database_url.clone())]);
        own.extend(gemini.variables());
        own.extend(stripe.variables());
        let settings = Settings::default();
        let variables = settings.variables(own)?;

        aws.keep_secrets(&variables).await?;
        let mut arguments = overrides(&variables);
        arguments.extend(parameters.iter().map(|&parameter| parameter.to_owned()));
        sam.build(&directory).await?;
        let outputs = sam.deploy(&directory, &aws, &arguments).await?;
        let template = processed_template(&aws).await?;
        let api = add_routes(&aws, &template).await?;
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
            aws,
            outputs,
            template,
            database_url,
            _ministack: ministack,
        })
    }

    /// Connects to its database.
    pub async fn database(&self) -> Result<tokio_postgres::Client> {
        connect(&self.database_url).await
    }
}

/// SAM, and the linter of CloudFormation.
pub struct Sam {
    tools: Tools,
    root: PathBuf,
}

impl Sam {
    /// Installs it, once.
    pub async fn install(workspace: &Workspace) -> Result<Self> {
        Ok(Self { tools: Tools::install(&workspace.target, &SAM).await?, root: workspace.root.clone() })
    }

    /// Validates the template with SAM and with the linter.
    pub async fn validate(&self) -> Result<()> {
        let mut validate = self.command("sam", &self.root);
        process::run(validate.args(["validate", "--lint", "--region", "us-east-1"])).await?;
        let mut lint = self.command("cfn-lint", &self.root);
        process::run(lint.args(["--non-zero-exit-code", "informational", "template.yaml"])).await?;
        Ok(())
    }

    async fn build(&self, directory: &Path) -> Result<()> {
        let mut build = self.command("sam", directory);
        process::run(build.args(["build", "--config-env", "local"])).await?;
        Ok(())
    }

    /// Deploys the stack and returns its outputs.
    async fn deploy(&self, directory: &Path, aws: &Aws, parameters: &[String]) -> Result<Variables> {
        let mut deploy = self.command("sam", directory);
        deploy.args(["deploy", "--config-env", "local", "--parameter-overrides"]);
        process::run(deploy.args(parameters).envs(aws.variables())).await?;

        let mut list = self.command("sam", directory);
        list.args(["list", "stack-outputs", "--config-env", "local", "--output", "json"]);
        let outputs = process::run(list.args(["--stack-name", STACK]).envs(aws.variables())).await?;
        let outputs: Vec<Value> = serde_json::from_str(&outputs)?;
        let output = |output: &Value| {
            let text = |name: &str| output[name].as_str().map(str::to_owned);
            Some((text("OutputKey")?, text("OutputValue")?))
        };
        Ok(outputs.iter().filter_map(output).collect())
    }

    fn command(&self, program: &str, directory: &Path) -> Command {
        let mut command = Command::new(self.tools.program(program));
        command.current_dir(directory).env("SAM_CLI_TELEMETRY", "0");
        command
    }
}

/// Lays out a checkout as it is after `cargo lambda build`, with the functions of the local stack.
async fn stage(workspace: &Workspace, directory: &Path) -> Result<()> {
    fs::copy(workspace.root.join("samconfig.toml"), directory.join("samconfig.toml"))?;
    // On AWS whoever may send a message may send a batch of them. MiniStack asks for an action that AWS does not have.
    let template = fs::read_to_string(workspace.root.join("template.yaml"))?;
    let template = template.replace("sqs:SendMessage]", "sqs:SendMessage, sqs:SendMessageBatch]");
    fs::write(directory.join("template.yaml"), template)?;
    let mut strips = JoinSet::new();
    for function in workspace.functions()? {
        let folder = directory.join("target/lambda").join(&function);
        fs::create_dir_all(&folder)?;
        let binary = workspace.binary(&function);
        strips.spawn(async move {
            // Debug information would be most of what is packed and sent.
            let mut strip = Command::new("strip");
            let strip = strip.arg("-o").arg(folder.join("bootstrap")).arg(binary);
            process::run(strip).await.context("it comes with the C compiler")
        });
    }
    while let Some(stripped) = strips.join_next().await {
        stripped??;
    }
    Ok(())
}

/// Makes the template's parameters for the services here.
fn overrides(variables: &Variables) -> Vec<String> {
    let parameters = [
        ("CheckoutCancelUrl", "CHECKOUT_CANCEL_URL"),
        ("CheckoutSuccessUrl", "CHECKOUT_SUCCESS_URL"),
        ("GeminiUrl", "GEMINI_URL"),
        ("StripeProPriceId", "STRIPE_PRO_PRICE_ID"),
        ("StripeUrl", "STRIPE_URL"),
    ];
    let parameters = parameters.map(|(parameter, name)| format!("{parameter}={}", variables[name]));
    let keys = format!("JwtPublicKeys='{}'", variables["JWT_PUBLIC_KEYS"]); // SAM takes away the quotation marks
    // With everything that a stack may have.
    let fixed = ["ChatroomCache=state", "DatabaseRoots=mozilla", "MaximumConsumers=0"];
    let fixed = fixed.map(str::to_owned);
    let fixed = fixed.into_iter().chain([keys]);
    parameters.into_iter().chain(fixed).collect()
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
