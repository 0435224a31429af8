// Lets the client that @hey-api/openapi-ts makes be imported by Node, which wants extensions.
export default { output: { path: "hey", module: { extension: ".js" } }, plugins: ["@hey-api/client-fetch"] };
