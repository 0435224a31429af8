//! Parses the URL of a Postgres, with the options that hosts and other drivers add to theirs.
//!
//! An option is either honoured or refused with the cause: one that was silently dropped would be believed to hold.

use tokio_postgres::Config;

use crate::{config::ConfigError, telemetry::Chain};

/// Settings of other drivers' pools, prepared statements and timeouts. This one has a single connection, prepares
/// nothing, and gives up before a client does, so they hold or make no difference.
const NOT_NEEDED: [&str; 8] = [
    "connect_timeout",
    "connection_limit",
    "pgbouncer",
    "pool_size",
    "pool_timeout",
    "prepared_statements",
    "statement_cache_size",
    "tcp_user_timeout",
];

/// Parses the URL that the variable `name` has.
///
/// # Errors
/// When it is no URL of Postgres, or has an option that cannot be honoured. No error quotes a value.
pub fn parse(name: &'static str, url: &str) -> Result<Config, ConfigError> {
    let refuse = |problem: &str| ConfigError::malformed(name, problem);
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let rest = rest.ok_or_else(|| refuse("it does not begin with postgres:// or postgresql://"))?;
    let address = rest.split_once('@').map_or(rest, |(_, address)| address);
    if address.contains('@') {
        return Err(refuse("it has more than one @; write those of the password as %40"));
    }
    let url = match address.split_once('?') {
        None => url.to_owned(),
        Some((_, query)) => {
            let options = query.split('&').filter_map(|option| honoured(option).transpose());
            let options = options.collect::<Result<Vec<_>, _>>().map_err(|problem| refuse(&problem))?;
            format!("{}{}", &url[..url.len() - query.len()], options.join("&"))
        }
    };
    url.trim_end_matches('?').parse::<Config>().map_err(|error| ConfigError::malformed(name, Chain(&error)))
}

/// Returns an option as the driver reads it, or nothing for one that it does not need.
fn honoured(option: &str) -> Result<Option<&str>, String> {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    match (key, value) {
        // Encryption always comes with the certificate and the name of the server verified.
        ("sslmode", "verify-ca" | "verify-full") => Ok(Some("sslmode=require")),
        ("sslmode", "disable" | "prefer" | "require") => Ok(Some(option)),
        ("sslmode", _) => Err("its sslmode is not one of: disable, prefer, require, verify-ca, verify-full".to_owned()),
        ("sslrootcert" | "sslcrl" | "sslcrldir", _) => {
            Err(format!("{key} is not read; set DATABASE_ROOTS to mozilla, rds, or the certificates in PEM"))
        }
        ("sslcert" | "sslkey" | "sslpassword" | "sslcertmode", _) => {
            Err(format!("{key} is not read: the functions have no certificates of their own"))
        }
        ("schema" | "search_path" | "currentSchema", "public") => Ok(None),
        ("schema" | "search_path" | "currentSchema", _) => {
            Err(format!("{key} is not read: the tables are in the schema public"))
        }
        _ if NOT_NEEDED.contains(&key) => Ok(None),
        _ => Ok(Some(option)),
    }
}

#[cfg(test)]
mod tests {
    //! The URLs that hosts hand out, and what is said of those that do not work.

    use tokio_postgres::config::SslMode;

    use super::*;

    fn with(options: &str) -> Result<Config, String> {
        let url = format!("postgres://user:secret-word@db.example.com:5432/chat{options}");
        parse("MIGRATE_DATABASE_URL", &url).map_err(|error| error.to_string())
    }

    #[test]
    fn the_urls_of_hosts_and_other_drivers_work() {
        for (options, mode) in [
            ("", SslMode::Prefer),
            ("?", SslMode::Prefer),
            ("?sslmode=require&channel_binding=require", SslMode::Require),
            ("?sslmode=verify-full", SslMode::Require),
            ("?sslmode=verify-ca&connect_timeout=30", SslMode::Require),
            ("?pgbouncer=true", SslMode::Prefer),
            ("?pgbouncer=true&connection_limit=1&pool_timeout=10&sslmode=disable", SslMode::Disable),
            ("?schema=public&statement_cache_size=0", SslMode::Prefer),
        ] {
            let config = with(options).unwrap();
            assert_eq!(config.get_ssl_mode(), mode, "{options}");
            assert_eq!(config.get_dbname(), Some("chat"), "{options}");
            assert_eq!(config.get_connect_timeout(), None, "{options}: ours is shorter");
        }
    }

    #[test]
    fn a_refusal_names_the_variable_and_the_cause_and_quotes_no_value() {
        for (options, cause) in [
            ("?sslmode=allow", "verify-full"),
            ("?sslmode=Require", "verify-full"),
            ("?sslmode=verify-full&sslrootcert=/etc/secret-word.pem", "set DATABASE_ROOTS"),
            ("?sslrootcert=system", "set DATABASE_ROOTS"),
            ("?sslcert=secret-word", "no certificates of their own"),
            ("?schema=secret-word", "schema public"),
            ("?nonsense=secret-word", "unknown option `nonsense`"),
            ("?target_session_attrs=secret-word", "invalid value for option `target_session_attrs`"),
            ("?secret-word=1@db.example.com", "more than one @"),
        ] {
            let problem = with(options).unwrap_err();
            assert!(problem.contains("MIGRATE_DATABASE_URL") && problem.contains(cause), "{options}: {problem}");
            assert!(!problem.contains("secret-word"), "{problem}");
        }
        for url in ["", "host=db.example.com user=x", "jdbc:postgresql://x", "mysql://x", "secret-word"] {
            let problem = parse("DATABASE_URL", url).unwrap_err().to_string();
            assert!(problem.contains("postgres://") && !problem.contains("secret-word"), "{problem}");
        }
    }

    #[test]
    fn a_password_may_contain_what_begins_the_options() {
        let config = parse("DATABASE_URL", "postgres://user:a?sslmode=b@db.example.com/chat").unwrap();
        assert_eq!(config.get_password(), Some("a?sslmode=b".as_bytes()));
    }
}
