//! Flags of the program that stand after the verb are brought before it.
//!
//! argh knows global flags only before the verb. Which remote and which branch are asked for so often that they may stand
//! anywhere, except where the verb has a flag of that name itself. What verbs have is read from their own descriptions, so that
//! a value is never taken for a flag, and no list has to be kept.

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind};

use super::Args;

/// The flags that may stand after the verb.
const HOISTED: [&str; 2] = ["--remote", "--branch"];

/// The same command line, with those flags in front. What follows `--` stays as it is.
pub(crate) fn hoisted<'w>(words: &[&'w str]) -> Vec<&'w str> {
    let program = Args::get_args_info();
    let mut command = &program;
    let mut front = Vec::new();
    let mut rest = Vec::new();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        if word == "--" {
            rest.push(word);
            rest.extend(words);
            break;
        }
        if let Some(kind) = flag(command, word) {
            rest.push(word);
            if has_value(kind) {
                rest.extend(words.next());
            }
        } else if HOISTED.contains(&word) {
            front.push(word);
            front.extend(words.next());
        } else {
            rest.push(word);
            let named = command.commands.iter().find(|verb| verb.name == word);
            command = named.map_or(command, |verb| &verb.command);
        }
    }
    front.extend(rest);
    front
}

fn flag<'c>(command: &'c CommandInfoWithArgs, word: &str) -> Option<&'c FlagInfo<'static>> {
    let is_meant = |flag: &&FlagInfo<'_>| {
        let short = flag.short.map(|short| format!("-{short}"));
        flag.long == word || short.is_some_and(|short| short == word)
    };
    command.flags.iter().find(is_meant)
}

const fn has_value(flag: &FlagInfo<'_>) -> bool {
    matches!(flag.kind, FlagInfoKind::Option { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(hoisted(&words).join(" "), expected);
    }

    #[test]
    fn flags_after_the_verb_come_first_unless_the_verb_has_them() {
        check("push", "push");
        check("--remote a push", "--remote a push");
        check("push --remote a", "--remote a push");
        check(
            "-C dir push files --remote a --yes --branch b",
            "--remote a --branch b -C dir push files --yes",
        );
        // Values are not flags, however they look.
        check("push -m --remote --remote a", "--remote a push -m --remote");
        check("push --message --branch", "push --message --branch");
        check(
            "db --url-env X status --remote a",
            "--remote a db --url-env X status",
        );
        check(
            "conflicts resolve 7f3a ours --remote a",
            "--remote a conflicts resolve 7f3a ours",
        );
        // Flags of the verb itself.
        check(
            "retention set --data d --tenant t --branch b --all",
            "retention set --data d --tenant t --branch b --all",
        );
        check(
            "tenant database acme --data d --branch b",
            "tenant database acme --data d --branch b",
        );
        check(
            "remote add a https://a --branch b",
            "remote add a https://a --branch b",
        );
        // What is no flag any more, and what has no value.
        check("push -- --remote a", "push -- --remote a");
        check("push --remote", "--remote push");
        check("-C push push --remote a", "--remote a -C push push");
        check("frob --remote a", "frob --remote a");
    }
}
