//! Manifests as text into objects, with the place each came from. Pure.
//!
//! Documents are separated by lines that start with `---`, as kubectl separates them; empty ones are skipped;
//! a `List` stands for its items. JSON is YAML here.

use serde_json::Value;

/// One object of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Where it stands: file, document and first line.
    pub place: String,
    /// The object as written.
    pub object: Value,
}

/// Splits and parses the text of one file.
///
/// # Errors
/// One line: file, document, line and reason.
pub fn parse(file: &str, text: &str) -> Result<Vec<Manifest>, String> {
    let mut manifests = Vec::new();
    for (number, (line, document)) in documents(text).into_iter().enumerate() {
        let place = format!("{file}, document {} (line {line})", number + 1);
        // Blank lines in front keep the parser's line numbers those of the file.
        let padded = "\n".repeat(line - 1) + document;
        let value: Value = serde_saphyr::from_str(&padded)
            .map_err(|error| format!("{place}: {}", crate::config::one_line(&error)))?;
        collect(&place, value, &mut manifests)?;
    }
    Ok(manifests)
}

/// The documents that hold more than comments, each with its 1-based first line.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.starts_with("---") {
            found.push((start_line, &text[start..offset]));
            start = offset + line.len();
            start_line = index + 2;
        }
        offset += line.len();
    }
    found.push((start_line, &text[start..]));
    found.retain(|(_, document)| {
        document
            .lines()
            .map(str::trim)
            .any(|line| !line.is_empty() && !line.starts_with('#') && line != "...")
    });
    found
}

fn collect(place: &str, value: Value, manifests: &mut Vec<Manifest>) -> Result<(), String> {
    let text_at = |key: &str| value.get(key).and_then(Value::as_str).filter(|it| !it.is_empty());
    if !value.is_object() {
        return Err(format!(
            "{place}: not a Kubernetes object: a mapping with apiVersion, kind and metadata is needed"
        ));
    }
    let kind = text_at("kind").ok_or_else(|| format!("{place}: kind: Required value"))?.to_owned();
    text_at("apiVersion").ok_or_else(|| format!("{place}: {kind}: apiVersion: Required value"))?;
    if kind == "List" || (kind.ends_with("List") && value.get("items").is_some()) {
        let items = value.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        for (index, item) in items.into_iter().enumerate() {
            collect(&format!("{place}, item {}", index + 1), item, manifests)?;
        }
        return Ok(());
    }
    manifests.push(Manifest { place: place.to_owned(), object: value });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_places() {
        let text = "# a comment\n---\nkind: A\napiVersion: v1\n---\n\n---\nkind: List\napiVersion: v1\nitems:\n- {kind: B, apiVersion: v1}\n";
        let places: Vec<_> = parse("x.yaml", text)
            .expect("valid")
            .into_iter()
            .map(|it| format!("{} {}", it.place, it.object["kind"].as_str().unwrap_or("?")))
            .collect();
        assert_eq!(places, ["x.yaml, document 1 (line 3) A", "x.yaml, document 2 (line 8), item 1 B"]);
    }

    #[test]
    fn errors_name_file_document_line_and_reason() {
        for (text, want) in [
            ("kind: A\napiVersion: v1\n---\nkind: [\n", "x.yaml, document 2 (line 4): "),
            ("apiVersion: v1\n", "x.yaml, document 1 (line 1): kind: Required value"),
            ("kind: A\n", "x.yaml, document 1 (line 1): A: apiVersion: Required value"),
            ("- a\n", "x.yaml, document 1 (line 1): not a Kubernetes object"),
        ] {
            let error = parse("x.yaml", text).expect_err("invalid");
            assert!(error.starts_with(want), "{text:?} gave {error}");
            assert!(!error.contains('\n'), "one line: {error}");
        }
    }
}
