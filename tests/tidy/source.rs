//! Rust source as the checks see it: words and punctuation with their lines, and paths.
//!
//! Knows just enough of the language to tell code from comments, literals and tests, and nothing
//! of this project's rules.

/// A word, or one character of punctuation. A literal is the word `"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A path, such as `crate::net::Address`; each leaf of a `use` tree is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) line: usize,
    /// How many `mod name { … }` of the same file it stands in.
    pub(crate) inline_depth: usize,
    pub(crate) segments: Vec<String>,
}

/// Takes a file apart. Comments and lifetimes leave nothing behind.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        chars: source.chars().collect(),
        at: 0,
        line: 1,
    };
    let mut tokens = Vec::new();
    loop {
        let line = lexer.line_of_next();
        let Some(text) = lexer.next_token() else {
            return tokens;
        };
        if !text.is_empty() {
            tokens.push(Token { line, text });
        }
    }
}

/// Removes every item behind `#[cfg(test)]`, and says how many lines these have.
pub(crate) fn without_tests(tokens: &[Token]) -> (Vec<Token>, usize) {
    let mut code = Vec::new();
    let mut test_lines = 0;
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens[at..], &["#", "!", "[", "cfg", "(", "test", ")"]) {
            let last = tokens.last().map_or(0, |token| token.line);
            return (Vec::new(), last);
        }
        if starts_with(&tokens[at..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
            let end = end_of_item(tokens, at);
            test_lines += tokens[end - 1].line - tokens[at].line + 1;
            at = end;
        } else {
            code.push(tokens[at].clone());
            at += 1;
        }
    }
    (code, test_lines)
}

/// Every path in the code, of one segment or more.
pub(crate) fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    // The depths of braces at which inline modules were opened.
    let mut modules = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if modules.last() == Some(&depth) {
                    modules.pop();
                }
            }
            "mod" if starts_with(&tokens[(at + 2).min(tokens.len())..], &["{"]) => {
                modules.push(depth);
            }
            text if is_word(text) => {
                let from = found.len();
                at = path(tokens, at, &[], &mut found);
                for path in &mut found[from..] {
                    path.inline_depth = modules.len();
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether `tokens` begins with these texts.
pub(crate) fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len()
        && tokens
            .iter()
            .zip(texts)
            .all(|(token, text)| token.text == *text)
}

/// Reads the path that begins at `at` and says where it ends.
fn path(tokens: &[Token], mut at: usize, parents: &[String], found: &mut Vec<Path>) -> usize {
    let line = tokens[at].line;
    let mut segments = parents.to_vec();
    loop {
        segments.push(tokens[at].text.clone());
        at += 1;
        if !starts_with(&tokens[at..], &[":", ":"]) {
            break;
        }
        match tokens.get(at + 2) {
            Some(next) if next.text == "{" => {
                at += 3;
                while at < tokens.len() && tokens[at].text != "}" {
                    if tokens[at].text == "as" {
                        // What it is called here does not matter.
                        at += 2;
                    } else if is_word(&tokens[at].text) || tokens[at].text == "*" {
                        at = path(tokens, at, &segments, found);
                    } else {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Some(next) if is_word(&next.text) || next.text == "*" => at += 2,
            _ => {
                at += 2;
                break;
            }
        }
    }
    found.push(Path {
        line,
        inline_depth: 0,
        segments,
    });
    at
}

/// The index behind the item that begins at `at` with an attribute.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let mut open = 0_usize;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "(" | "[" | "{" => open += 1,
            ")" | "]" => open = open.saturating_sub(1),
            "}" => {
                open = open.saturating_sub(1);
                if open == 0 {
                    return at + 1;
                }
            }
            ";" if open == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn line_of_next(&mut self) -> usize {
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.bump();
        }
        self.line
    }

    /// The next token; an empty one for what leaves none behind; `None` at the end.
    fn next_token(&mut self) -> Option<String> {
        let first = self.peek(0)?;
        let second = self.peek(1);
        if first == '/' && second == Some('/') {
            while self.peek(0).is_some_and(|next| next != '\n') {
                self.bump();
            }
            return Some(String::new());
        }
        if first == '/' && second == Some('*') {
            self.block_comment();
            return Some(String::new());
        }
        if first == '"' {
            self.quoted('"');
            return Some('"'.into());
        }
        if first == '\'' {
            // 'x' and '\n' are characters; 'a alone is a lifetime.
            if second == Some('\\') || self.peek(2) == Some('\'') {
                self.quoted('\'');
                return Some('"'.into());
            }
            self.bump();
            self.word();
            return Some(String::new());
        }
        if first.is_alphanumeric() || first == '_' {
            let word = self.word();
            let hashes = self.chars[self.at..]
                .iter()
                .take_while(|&&next| next == '#');
            let hashes = hashes.count();
            if ["r", "br", "cr"].contains(&word.as_str()) && self.peek(hashes) == Some('"') {
                self.raw_string(hashes);
                return Some('"'.into());
            }
            return Some(word);
        }
        self.bump();
        Some(first.into())
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                (None, _) => return,
                _ => {
                    self.bump();
                    continue;
                }
            }
            self.bump();
            self.bump();
            if depth == 0 {
                return;
            }
        }
    }

    fn quoted(&mut self, quote: char) {
        self.bump();
        while let Some(next) = self.peek(0) {
            self.bump();
            if next == '\\' {
                self.bump();
            } else if next == quote {
                return;
            }
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        for _ in 0..=hashes {
            self.bump();
        }
        while let Some(next) = self.peek(0) {
            self.bump();
            if next == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                for _ in 0..hashes {
                    self.bump();
                }
                return;
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(next) = self.peek(0)
            && (next.is_alphanumeric() || next == '_')
        {
            word.push(next);
            self.bump();
        }
        word
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn bump(&mut self) {
        if self.peek(0) == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }
}
