//! OTLP/JSON messages of a file, one a line, to rows as JSON on standard output, by the crate otlp2records.
//!
//! Two hundred messages at a time, as a function's event holds them. The rows have the crate's columns, one a datapoint.
//! It refuses a batch whole for a message that holds "NaN", as failed polls may; then its messages are tried one by one.

use std::io::Write;

use otlp2records::{to_json, transform_metrics, InputFormat, Result};

const MESSAGES: usize = 200;

fn rows(messages: &[u8], format: InputFormat) -> Result<Vec<u8>> {
    let found = transform_metrics(messages, format)?;
    let mut out = Vec::new();
    for batch in [found.gauge, found.sum, found.histogram, found.exp_histogram].iter().flatten() {
        out.extend(to_json(batch)?);
    }
    Ok(out)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let text = std::fs::read(std::env::args().nth(1).ok_or("which file?")?)?;
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let mut out = std::io::stdout().lock();
    for messages in lines.chunks(MESSAGES) {
        match rows(&messages.join(&b'\n'), InputFormat::Jsonl) {
            Ok(found) => out.write_all(&found)?,
            Err(_) => {
                for message in messages {
                    out.write_all(&rows(message, InputFormat::Json).unwrap_or_default())?;
                }
            }
        }
    }
    Ok(())
}
