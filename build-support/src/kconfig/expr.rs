//! Kconfig's expressions (`depends on A && (B || C = "x")`): parsed for [`super::tree`], evaluated against a
//! final configuration for [`super::reason`].

use std::fmt;

use super::{Config, Value};

/// `n`, `m` or `y`: Kconfig orders them, `&&` is the smaller and `||` the larger of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tri {
    N,
    M,
    Y,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// A symbol, or one of the constants `y`, `m`, `n`, a number, a quoted string.
    Symbol(String),
    Quoted(String),
    /// `$(cc-option,-mfoo)` and its like: a test that Kconfig runs and that is not repeated here.
    Macro(String),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// `=`, `!=`, `<`, `<=`, `>`, `>=` with its two sides.
    Compare(String, Box<Expr>, Box<Expr>),
}

impl Expr {
    pub fn and(self, other: Expr) -> Expr {
        if self == Expr::always() {
            return other;
        }
        if other == Expr::always() {
            return self;
        }
        Expr::And(Box::new(self), Box::new(other))
    }

    pub fn always() -> Expr {
        Expr::Symbol("y".to_string())
    }

    /// Parses one expression; `None` when the text is not one.
    pub fn parse(text: &str) -> Option<Expr> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let expr = parser.or()?;
        (parser.at == parser.tokens.len()).then_some(expr)
    }

    /// The expression's value; `None` when it rests on a macro.
    pub fn value(&self, config: &Config) -> Option<Tri> {
        Some(match self {
            Expr::Symbol(name) => tri_of(name, config),
            Expr::Quoted(text) => tri_of_constant(text).unwrap_or(Tri::N),
            Expr::Macro(_) => return None,
            Expr::Not(inner) => match inner.value(config)? {
                Tri::N => Tri::Y,
                Tri::M => Tri::M,
                Tri::Y => Tri::N,
            },
            Expr::And(left, right) => match (left.value(config), right.value(config)) {
                (Some(left), Some(right)) => left.min(right),
                (Some(Tri::N), None) | (None, Some(Tri::N)) => Tri::N,
                _ => return None,
            },
            Expr::Or(left, right) => match (left.value(config), right.value(config)) {
                (Some(left), Some(right)) => left.max(right),
                (Some(Tri::Y), None) | (None, Some(Tri::Y)) => Tri::Y,
                _ => return None,
            },
            Expr::Compare(operator, left, right) => {
                let holds = compare(operator, &left.text(config)?, &right.text(config)?);
                if holds { Tri::Y } else { Tri::N }
            }
        })
    }

    /// A side of a comparison as text: Kconfig compares values, and a symbol that is not set is `n` or empty.
    fn text(&self, config: &Config) -> Option<String> {
        match self {
            Expr::Quoted(text) => Some(text.clone()),
            Expr::Symbol(name) => Some(match config.get(name) {
                Some(value) => value.to_string().trim_matches('"').to_string(),
                None if name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') => name.clone(),
                None => "n".to_string(),
            }),
            _ => None,
        }
    }

    /// The smallest parts that keep the whole below `needed`.
    pub fn failing(&self, needed: Tri, config: &Config) -> Vec<&Expr> {
        match (self, self.value(config)) {
            (_, Some(value)) if value >= needed => Vec::new(),
            (Expr::And(left, right), _) => {
                let mut parts = left.failing(needed, config);
                parts.extend(right.failing(needed, config));
                parts
            }
            _ => vec![self],
        }
    }

    /// Every symbol named, in order of appearance.
    pub fn symbols(&self) -> Vec<&str> {
        match self {
            Expr::Symbol(name) if tri_of_constant(name).is_none() && number(name).is_none() => vec![name],
            Expr::Symbol(_) | Expr::Quoted(_) | Expr::Macro(_) => Vec::new(),
            Expr::Not(inner) => inner.symbols(),
            Expr::And(left, right) | Expr::Or(left, right) | Expr::Compare(_, left, right) => {
                left.symbols().into_iter().chain(right.symbols()).collect()
            }
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Symbol(name) => f.write_str(name),
            Expr::Quoted(text) => write!(f, "\"{text}\""),
            Expr::Macro(text) => f.write_str(text),
            Expr::Not(inner) if matches!(**inner, Expr::And(..) | Expr::Or(..)) => write!(f, "!({inner})"),
            Expr::Not(inner) => write!(f, "!{inner}"),
            Expr::And(left, right) => {
                for (sign, side) in [("", left), (" && ", right)] {
                    match **side {
                        Expr::Or(..) => write!(f, "{sign}({side})")?,
                        _ => write!(f, "{sign}{side}")?,
                    }
                }
                Ok(())
            }
            Expr::Or(left, right) => write!(f, "{left} || {right}"),
            Expr::Compare(operator, left, right) => write!(f, "{left} {operator} {right}"),
        }
    }
}

fn tri_of_constant(name: &str) -> Option<Tri> {
    match name {
        "y" => Some(Tri::Y),
        "m" => Some(Tri::M),
        "n" => Some(Tri::N),
        _ => None,
    }
}

/// A symbol's value as a condition: numbers and strings count as `n`, as in Kconfig.
fn tri_of(name: &str, config: &Config) -> Tri {
    tri_of_constant(name).unwrap_or(match config.get(name) {
        Some(Value::Yes) => Tri::Y,
        Some(Value::Module) => Tri::M,
        Some(Value::No | Value::Text(_)) | None => Tri::N,
    })
}

fn compare(operator: &str, left: &str, right: &str) -> bool {
    let order = match (number(left), number(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => left.cmp(right),
    };
    match operator {
        "=" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Macro(String),
    Sign(&'static str),
}

/// Splits an expression; `None` on a character that does not belong into one.
fn tokens(mut rest: &str) -> Option<Vec<Token>> {
    const SIGNS: [&str; 11] = ["&&", "||", "!=", "<=", ">=", "=", "<", ">", "!", "(", ")"];
    let mut tokens = Vec::new();
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Some(tokens) };
        let (token, length) = if first == '#' {
            return Some(tokens);
        } else if first == '"' || first == '\'' {
            let end = rest[1..].find(first)? + 1;
            (Token::Quoted(rest[1..end].to_string()), end + 1)
        } else if rest.starts_with("$(") {
            let end = macro_end(rest)?;
            (Token::Macro(rest[..end].to_string()), end)
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else {
            let word = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            (Token::Word(rest[..end].to_string()), end)
        };
        tokens.push(token);
        rest = &rest[length..];
    }
}

/// The length of the `$(...)` at the start of the text, brackets inside included.
fn macro_end(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(at + 1),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Recursive descent over Kconfig's grammar: `||` binds loosest, then `&&`, `!`, comparisons.
struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Option<Expr> {
        let mut left = self.and()?;
        while self.take("||") {
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Expr> {
        let mut left = self.not()?;
        while self.take("&&") {
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Some(left)
    }

    fn not(&mut self) -> Option<Expr> {
        if self.take("!") {
            return Some(Expr::Not(Box::new(self.not()?)));
        }
        if self.take("(") {
            let inner = self.or()?;
            return self.take(")").then_some(inner);
        }
        let left = self.atom()?;
        for operator in ["!=", "<=", ">=", "=", "<", ">"] {
            if self.take(operator) {
                let right = self.atom()?;
                return Some(Expr::Compare(operator.to_string(), Box::new(left), Box::new(right)));
            }
        }
        Some(left)
    }

    fn atom(&mut self) -> Option<Expr> {
        let expr = match self.tokens.get(self.at)? {
            Token::Word(word) => Expr::Symbol(word.clone()),
            Token::Quoted(text) => Expr::Quoted(text.clone()),
            Token::Macro(text) => Expr::Macro(text.clone()),
            Token::Sign(_) => return None,
        };
        self.at += 1;
        Some(expr)
    }
}
