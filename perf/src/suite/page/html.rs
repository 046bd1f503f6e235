//! Text and tables of the page.

use std::fmt::Write;

/// Text that means only itself.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// A table whose first `left` columns are words and whose others are numbers.
pub(super) fn table(header: &[String], left: usize, rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, row: &[String]| {
        row.iter().enumerate().fold(String::new(), |mut out, (at, cell)| {
            let class = if at < left { "" } else { r#" class="n""# };
            _ = write!(out, "<{tag}{class}>{}</{tag}>", escape(cell));
            out
        })
    };
    let body: String = rows.iter().map(|row| format!("<tr>{}</tr>\n", cells("td", row))).collect();
    let head = cells("th", header);
    format!(
        "<div class=\"wide\"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_means_only_itself() {
        assert_eq!(escape(r#"<a href="x">&"#), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let table = table(&["case".into(), "µs".into()], 1, &[vec!["a<b".into(), "1".into()]]);
        assert!(table.contains(r#"<th>case</th><th class="n">µs</th>"#));
        assert!(table.contains(r#"<td>a&lt;b</td><td class="n">1</td>"#));
    }
}
