//! TOML for the files of services and of the network: values with their lines, and a reader that names every fault.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use init_base::names::nearest;

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1; 0 is the file as a whole.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer, and the base that it is written in.
    Integer(i64, u32),
    /// A decimal number as it was written, without `_`.
    Decimal(String),
    /// `true` or `false`.
    Boolean(bool),
    /// An array.
    List(Vec<Value>),
    /// A table.
    Table(Vec<Entry>),
    /// A date or time, for which a service has no use, or a number that is too large.
    Other,
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(..) => "an integer",
            Value::Decimal(_) => "a decimal number",
            Value::Boolean(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other => "a date, or too large",
        }
    }

    /// The fault of a value that should be `expected`.
    pub fn not(&self, expected: &str) -> String {
        format!("must be {expected}, and is {}", self.kind())
    }

    /// A string without a zero byte, which no argument or path can have.
    pub fn text(&self) -> Result<String, String> {
        match self {
            Value::Text(text) if text.contains('\0') => Err("must not contain a zero byte".into()),
            Value::Text(text) => Ok(text.clone()),
            other => Err(other.not("a string")),
        }
    }

    /// A list of strings.
    pub fn texts(&self) -> Result<Vec<String>, String> {
        match self {
            Value::List(items) => items.iter().map(Value::text).collect(),
            other => Err(other.not("a list of strings")),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Result<bool, String> {
        match self {
            Value::Boolean(value) => Ok(*value),
            other => Err(other.not("true or false")),
        }
    }

    /// An integer from `least` to `most`.
    pub fn integer(&self, least: i64, most: i64) -> Result<i64, String> {
        match self {
            Value::Integer(value, _) if (least..=most).contains(value) => Ok(*value),
            Value::Integer(value, _) => Err(format!("must be from {least} to {most}, and is {value}")),
            other => Err(other.not("an integer")),
        }
    }
}

/// A key, its line, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The line, from 1.
    pub line: usize,
    /// The value.
    pub value: Value,
}

/// Parses a document.
///
/// # Errors
/// The syntax faults, with their lines.
pub fn parse(text: &str) -> Result<Vec<Entry>, Vec<Fault>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(entries(text, document.into_inner()));
    }
    let fault = |error: &toml::de::Error| {
        let line = error.span().map_or(0, |span| line_of(text, span.start));
        // The parser's message has a line for what it expected.
        Fault { line, message: error.message().replace('\n', ", ") }
    };
    Err(errors.iter().map(fault).collect())
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

fn entries(text: &str, table: DeTable<'_>) -> Vec<Entry> {
    let entry = |(key, value): (Spanned<DeString<'_>>, Spanned<DeValue<'_>>)| Entry {
        line: line_of(text, key.span().start),
        key: key.get_ref().to_string(),
        value: value_of(text, value.into_inner()),
    };
    table.into_iter().map(entry).collect()
}

fn value_of(text: &str, value: DeValue<'_>) -> Value {
    match value {
        DeValue::String(string) => Value::Text(string.into_owned()),
        DeValue::Integer(number) => {
            let base = number.radix();
            i64::from_str_radix(number.as_str(), base).map_or(Value::Other, |value| Value::Integer(value, base))
        }
        DeValue::Float(number) => Value::Decimal(number.as_str().into()),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| value_of(text, item.into_inner())).collect()),
        DeValue::Table(table) => Value::Table(entries(text, table)),
        DeValue::Datetime(_) => Value::Other,
    }
}

/// Takes keys out of a table and collects what is wrong with them.
pub struct Reader {
    /// The table's name and a dot, or nothing for the document.
    prefix: String,
    entries: Vec<Entry>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl Reader {
    /// A reader of a whole document.
    pub fn new(entries: Vec<Entry>) -> Reader {
        Reader { prefix: String::new(), entries, known: Vec::new(), faults: Vec::new() }
    }

    /// Takes the value of `key` through `convert`; nothing when there is no such key, or when it is faulty.
    pub fn take<T>(&mut self, key: &'static str, convert: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        let Entry { line, value, .. } = self.entries.remove(index);
        match convert(&value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.faults.push(Fault { line, message: format!("'{}{key}' {message}", self.prefix) });
                None
            }
        }
    }

    /// Takes a table and reads it with `read`.
    pub fn table(&mut self, key: &'static str, read: impl FnOnce(&mut Reader)) {
        let Some(entries) = self.take(key, |value| match value {
            Value::Table(entries) => Ok(entries.clone()),
            other => Err(other.not("a table")),
        }) else {
            return;
        };
        let mut reader = Reader { prefix: format!("{}{key}.", self.prefix), ..Reader::new(entries) };
        read(&mut reader);
        self.faults.append(&mut reader.finish());
    }

    /// Takes all that is left, whatever the keys are.
    pub fn rest(&mut self, mut each: impl FnMut(&str, &Value) -> Result<(), String>) {
        for Entry { key, line, value } in core::mem::take(&mut self.entries) {
            if let Err(message) = each(&key, &value) {
                self.faults.push(Fault { line, message: format!("'{}{key}' {message}", self.prefix) });
            }
        }
    }

    /// Whether nothing was wrong so far.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// Adds a fault of the file as a whole.
    pub fn fault(&mut self, message: impl Into<String>) {
        self.faults.push(Fault { line: 0, message: message.into() });
    }

    /// The faults, with those for keys that nobody took, by line.
    pub fn finish(self) -> Vec<Fault> {
        let Reader { prefix, entries, known, mut faults } = self;
        for Entry { key, line, .. } in entries {
            let hint = match nearest(&key, &known) {
                Some(known) => format!("did you mean '{known}'?"),
                None => format!("the keys are {}", known.join(", ")),
            };
            faults.push(Fault { line, message: format!("unknown key '{prefix}{key}'; {hint}") });
        }
        faults.sort_by_key(|fault| fault.line);
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_lines() {
        let entries = parse("a = 1\n\n[t]\nb = [\"x\", 0o17]\nc = 1_0.5\n").unwrap();
        assert_eq!((entries[0].line, &entries[0].value), (1, &Value::Integer(1, 10)));
        let Value::Table(inner) = &entries[1].value else { panic!() };
        let list = Value::List(vec![Value::Text("x".into()), Value::Integer(15, 8)]);
        assert_eq!((inner[0].line, &inner[0].value), (4, &list));
        assert_eq!(inner[1].value, Value::Decimal("10.5".into()));
    }

    #[test]
    fn syntax_faults_name_their_line() {
        let faults = parse("a = 1\nb = \nc = 2\n").unwrap_err();
        assert_eq!(faults[0].line, 2, "{faults:?}");
        assert!(!faults[0].message.contains('\n'));
        assert!(parse("a = 1\na = 2\n").is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&format!("a = {}", "[".repeat(100_000))).is_err());
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let mut reader = Reader::new(parse("usr = 1\nuser = 2\n[limits]\nnofiel = 3\n").unwrap());
        assert_eq!(reader.take("user", |value| value.text()), None);
        reader.table("limits", |limits| {
            limits.take("nofile", |value| value.integer(0, 9));
        });
        let faults: Vec<_> = reader.finish().into_iter().map(|fault| (fault.line, fault.message)).collect();
        let expected = [
            (1, "unknown key 'usr'; did you mean 'user'?".to_owned()),
            (2, "'user' must be a string, and is an integer".to_owned()),
            (4, "unknown key 'limits.nofiel'; did you mean 'nofile'?".to_owned()),
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_key_that_is_like_none_gets_the_list() {
        let mut reader = Reader::new(parse("zzz = 1\n").unwrap());
        reader.take("user", |value| value.text());
        assert_eq!(reader.finish()[0].message, "unknown key 'zzz'; the keys are user");
    }
}
