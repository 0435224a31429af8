"""Prints how `sam local invoke` would run each function of the template, as `samconfig.toml` says for `local`."""

import json

from samcli.cli.types import CfnParameterOverridesType
from samcli.commands.local.lib.local_lambda import LocalLambdaRunner
from samcli.lib.config.samconfig import SamConfig
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider

config = SamConfig(".")
options = config.get_all(["local", "invoke"], "parameters", env="local")
parameters = CfnParameterOverridesType().convert(options["parameter_overrides"], None, None)
stacks, remote = SamLocalStackProvider.get_stacks(options["template_file"], parameter_overrides=parameters)
assert not remote, remote
with open(options["env_vars"]) as file:
    variables = json.load(file)
provider = SamFunctionProvider(stacks)
runner = LocalLambdaRunner(None, provider, ".", ".", env_vars_values=variables)
print(
    json.dumps(
        {
            function.name: {
                "code": function.codeuri,
                "runtime": function.runtime,
                "variables": runner._make_env_vars(function).resolve(),
            }
            for function in provider.get_all()
        }
    )
)
