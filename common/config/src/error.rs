//! The error that reports every wrong setting at once, and the warnings about settings that are allowed.

use std::fmt;

/// One wrong setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The variable, or the unknown name.
    pub name: String,
    /// What is wrong and what is allowed. Never contains a secret.
    pub text: String,
}

/// A setting that is allowed and deserves a line at start (contract, rulings 48, 49 and 55).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub variable: &'static str,
    /// Never contains a secret or a phone number.
    pub text: String,
}

/// The settings are wrong. Prints each mistake on its own line with the variable's name and the allowed values, but
/// never the value of a secret.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
}

impl ConfigError {
    pub(super) fn new(mistakes: Vec<Mistake>) -> Self {
        Self { mistakes }
    }

    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }

    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.len() {
            1 => f.write_str("a setting is wrong:")?,
            count => write!(f, "{count} settings are wrong:")?,
        }
        for Mistake { name, text } in &self.mistakes {
            write!(f, "\n  {name}: {text}")?;
        }
        Ok(())
    }
}
