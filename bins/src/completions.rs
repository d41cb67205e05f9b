//! Completion in shells: the program itself answers, so that flags and their words are those that there are.
use std::ffi::OsStr;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::Shells;
use recipes::Failure;
use recipes::settings::{Field, Kind, at};

/// The variable by which a shell asks for candidates.
const VARIABLE: &str = "HYBRID_DPO_COMPLETE";

const HELP: &str = "Examples:
  hybrid-dpo completions bash > ~/.local/share/bash-completion/completions/hybrid-dpo
  hybrid-dpo completions zsh > ~/.zfunc/_hybrid-dpo       # a folder of $fpath
  hybrid-dpo completions fish > ~/.config/fish/completions/hybrid-dpo.fish";

/// The script for bash, which divides words at `=` and `:` before it asks: they are joined again, since `--mdp=hybrid` is one
/// word and `builtin:tldr` another, and what stands before the last of them is taken off the candidates.
const BASH: &str = r#"_hybrid_dpo() {
    local IFS=$'\013' rest="$COMP_LINE" words=() word bare index i
    for i in "${!COMP_WORDS[@]}"; do
        word="${COMP_WORDS[i]}"
        bare="${rest#"${rest%%[![:space:]]*}"}"
        if [[ $i -gt 0 && "$bare" == "$rest" ]]; then
            words[${#words[@]}-1]+="$word"
        else
            words+=("$word")
        fi
        rest="${bare#"$word"}"
        [[ $i -eq $COMP_CWORD ]] && index=$((${#words[@]} - 1)) && break
    done
    local before="${words[index]%"$2"}"
    COMPREPLY=($(_CLAP_IFS="$IFS" _CLAP_COMPLETE_INDEX="$index" _CLAP_COMPLETE_COMP_TYPE="$COMP_TYPE" \
        _CLAP_COMPLETE_SPACE=true VARIABLE=bash hybrid-dpo -- "${words[@]}"))
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    [[ "${COMPREPLY[*]}" == *[=/:] ]] && compopt -o nospace
}
complete -o bashdefault -o nosort -F _hybrid_dpo hybrid-dpo
"#;

/// The verb.
pub(crate) fn command() -> Command {
    let shells = PossibleValuesParser::new(Shells::builtins().names());
    Command::new("completions")
        .about("Writes a shell's completion script")
        .after_help(HELP)
        .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(shells).help("The shell"))
}

/// Answers a shell that completes a command line, and ends the program then.
pub(crate) fn answer() {
    CompleteEnv::with_factory(crate::command).var(VARIABLE).complete();
}

/// The script by which a shell learns to ask.
pub(crate) fn script(matches: &ArgMatches) -> Result<String, Failure> {
    const NAME: &str = "hybrid-dpo";
    let shell = matches.get_one::<String>("shell").map_or("bash", String::as_str);
    if shell == "bash" {
        return Ok(BASH.replace("VARIABLE", VARIABLE));
    }
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("completions {shell}: {error}"));
    let shells = Shells::builtins();
    let shell = shells.completer(shell).ok_or_else(|| failed(&"no such shell"))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, NAME, NAME, NAME, &mut script).map_err(|error| failed(&error))?;
    String::from_utf8(script).map_err(|error| failed(&error))
}

/// The candidates for a setting's value.
pub(crate) fn values(field: &'static Field) -> ArgValueCompleter {
    ArgValueCompleter::new(Candidates(field))
}

struct Candidates(&'static Field);

impl ValueCompleter for Candidates {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let begin = current.to_string_lossy();
        let words = |words: &[&str]| -> Vec<CompletionCandidate> {
            words.iter().filter(|word| word.starts_with(begin.as_ref())).map(CompletionCandidate::new).collect()
        };
        match self.0.kind {
            Kind::Choice(choices) => words(choices),
            Kind::Switch => words(&["true", "false"]),
            Kind::Texts if *self.0 != at::data::data => Vec::new(),
            Kind::Count | Kind::Number | Kind::List => Vec::new(),
            Kind::Text if *self.0 == at::run::device => words(&["cpu", "cuda:0"]),
            Kind::Text | Kind::Texts => {
                let mut found = words(&recipes::embedded_names(self.0));
                found.extend(PathCompleter::any().complete(current));
                found
            }
        }
    }
}
