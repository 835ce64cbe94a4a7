//! Names of tensors: parts of a block or of the whole, prefixes, buffers.

use crate::Layout;

/// What a canonical name belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Number of a block, and the name within it.
    Block(usize, &'a str),
    /// The whole network.
    Outside(&'a str),
}

impl<'a> Place<'a> {
    pub(super) fn of(canonical: &'a str) -> Self {
        let in_block = canonical.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
        match in_block.and_then(|(number, name)| Some((number.parse().ok()?, name))) {
            Some((number, name)) => Self::Block(number, name),
            None => Self::Outside(canonical),
        }
    }
}

/// The name of a tensor without what a model's class puts in front of it: checkpoints exist with and without.
pub(super) fn without_prefix(layout: Layout, name: &str) -> &str {
    let prefix = match layout {
        Layout::Gpt2 | Layout::GptNeo => "transformer.",
        Layout::GptNeox => "gpt_neox.",
        Layout::Llama => "model.",
        Layout::TransformerLens | Layout::ProgressMeasures | Layout::Llama2c => "",
    };
    let bare = name.strip_prefix(prefix).unwrap_or(name);
    // What GPT-NeoX's class called its unembedding before version 5.
    if layout == Layout::GptNeox && bare == "embed_out.weight" { "lm_head.weight" } else { bare }
}

/// Whether a tensor is a mask or a table that older versions of the library saved beside the weights.
pub(super) fn is_buffer(layout: Layout, bare: &str) -> bool {
    let ends: &[&str] = match layout {
        Layout::Gpt2 => &[".attn.bias", ".attn.masked_bias"],
        Layout::GptNeo => &[".attn.attention.bias", ".attn.attention.masked_bias"],
        Layout::GptNeox => &[".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"],
        Layout::Llama => &[".rotary_emb.inv_freq"],
        Layout::TransformerLens | Layout::ProgressMeasures | Layout::Llama2c => &[],
    };
    ends.iter().any(|end| bare.ends_with(end))
}
