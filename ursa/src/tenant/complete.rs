//! Completion: scripts for shells, and as `kubectl_complete-tenant` what kubectl asks for of `kubectl tenant …`.

use super::{Access, block_on, show};
use crate::args::{Args, ClientArgs};
use clap::CommandFactory;

/// The name under which kubectl runs this for completion.
pub const KUBECTL: &str = "kubectl_complete-tenant";

/// What the shell is told besides: to add no names of files.
const NO_FILES: &str = ":4";

/// How many names of tenants are offered.
const NAMES_MAX: usize = 100;

/// Prints the completion script of `ursa` for a shell.
pub fn script(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut Args::command(), "ursa", &mut std::io::stdout());
}

/// Answers kubectl: what the last of these words may become. What cannot be known is nothing.
pub fn answer(words: &[String]) {
    for candidate in candidates(words) {
        println!("{candidate}");
    }
    println!("{NO_FILES}");
}

fn candidates(words: &[String]) -> Vec<String> {
    let (last, before) = words.split_last().map_or(("", &words[..0]), |(last, before)| (last.as_str(), before));
    let mut command = Args::command();
    let Some(tenant) = command.find_subcommand_mut("tenant") else { return Vec::new() };
    let Some(verb) = before.iter().find(|word| !word.starts_with('-')) else {
        let all = tenant.get_subcommands().filter(|sub| sub.get_name().starts_with(last));
        return all.map(|sub| described(sub.get_name(), sub.get_about().map(ToString::to_string))).collect();
    };
    let Some(verb) = tenant.find_subcommand(verb) else { return Vec::new() };
    if last.starts_with('-') {
        let flags = verb.get_arguments().filter_map(|arg| Some((format!("--{}", arg.get_long()?), arg.get_help())));
        let flags = flags.filter(|(flag, _)| flag.starts_with(last));
        return flags.map(|(flag, help)| described(&flag, help.map(ToString::to_string))).collect();
    }
    let names_a_tenant = verb.get_name() != "create" && verb.get_positionals().next().is_some();
    let named = before.iter().filter(|word| !word.starts_with('-')).count() > 1;
    if names_a_tenant && !named { names(last) } else { Vec::new() }
}

fn described(name: &str, about: Option<String>) -> String {
    about.map_or_else(|| name.to_owned(), |about| format!("{name}\t{about}"))
}

/// Names of tenants that start so.
fn names(start: &str) -> Vec<String> {
    let asked = block_on(async {
        let kubeconfig = std::env::var_os("KUBECONFIG").map(Into::into);
        let access = Access::new(&ClientArgs { kubeconfig, context: None })?;
        let wanted = show::Wanted {
            selector: String::new(),
            field_selector: String::new(),
            search: start.to_owned(),
            limit: 10 * NAMES_MAX,
        };
        let mut names = Vec::new();
        let all = show::each(&access.client, wanted, |tenant| {
            names.extend(tenant["metadata"]["name"].as_str().filter(|name| name.starts_with(start)).map(str::to_owned));
        });
        all.await.map_err(|e| e.to_string())?;
        names.truncate(NAMES_MAX);
        Ok(names)
    });
    asked.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_flags_are_offered_with_what_they_do() {
        let of = |words: &[&str]| candidates(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        let verbs = of(&[""]);
        for verb in ["create", "list", "use", "delete", "kubeconfig", "suspend", "resume", "usage", "describe"] {
            assert!(verbs.iter().any(|candidate| candidate.starts_with(&format!("{verb}\t"))), "{verb}: {verbs:?}");
        }
        assert_eq!(of(&["susp"]).len(), 1);
        assert!(of(&["list", "--se"]).iter().any(|flag| flag.starts_with("--search\t")));
        assert_eq!(of(&["create", ""]), Vec::<String>::new(), "a new name is nobody's yet");
        assert_eq!(of(&["nonsense", ""]), Vec::<String>::new());
    }
}
