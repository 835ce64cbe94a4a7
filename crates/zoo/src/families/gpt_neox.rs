//! GPT-NeoX (Black et al. 2022), the architecture of Pythia: parallel blocks, a part of each head turns.

use super::NetworkFileError;
use super::hugging_face::{plain, rotary};
use super::settings::Settings;
use super::source::{Heads, Source};
use super::tensor_names::Place;
use crate::TransformerConfig;

pub(super) fn network(settings: &mut Settings) -> Result<TransformerConfig, NetworkFileError> {
    let layers = settings.required_size("num_hidden_layers")?;
    let d_model = settings.required_size("hidden_size")?;
    let (heads, vocabulary) = (settings.required_size("num_attention_heads")?, settings.required_size("vocab_size")?);
    // Positions turn: there are no rows that a longer text would lack.
    settings.take("max_position_embeddings");
    let mut config = TransformerConfig {
        d_mlp: Some(settings.required_size("intermediate_size")?),
        activation: Some(settings.activation("hidden_act", Some("gelu"))?),
        norm_eps: settings.number("layer_norm_eps")?.unwrap_or(1e-5),
        parallel_block: settings.flag("use_parallel_residual")?.unwrap_or(true),
        tied_unembed: settings.flag("tie_word_embeddings")?.unwrap_or(false),
        attention_biases: settings.flag("attention_bias")?.unwrap_or(true),
        ..plain(layers, d_model, heads, vocabulary)
    };
    let written = settings.number("rotary_pct")?;
    let share = rotary(settings, "rotary_emb_base", &mut config)?.or(written).unwrap_or(0.25);
    if !(share > 0.0 && share <= 1.0) {
        return Err(settings.wrong("rotary_pct", &share.into(), "a share above 0, at most 1"));
    }
    // Rounded down, as the library does.
    let n_rotary = (config.head_width() as f64 * share) as usize;
    config.rotary_dim = (n_rotary != config.head_width()).then_some(n_rotary);
    Ok(config)
}

/// Where the parameter at `place` lies. Matrices are `[outputs, inputs]`; one has queries, keys and values of the first head,
/// then those of the second, and so on.
pub(super) fn source(place: Place<'_>, shape: &[usize]) -> Option<Source> {
    let heads = Heads::of(shape);
    Some(match place {
        Place::Outside("embed.W_E") => Source::whole("embed_in.weight", shape),
        Place::Outside("ln_final.w") => Source::whole("final_layer_norm.weight", shape),
        Place::Outside("ln_final.b") => Source::whole("final_layer_norm.bias", shape),
        Place::Outside("unembed.W_U") => Source::transposed("lm_head.weight", shape),
        Place::Block(layer, name) => {
            let own = |rest: &str| format!("layers.{layer}.{rest}");
            let fused = own("attention.query_key_value.weight");
            let fused_bias = own("attention.query_key_value.bias");
            match name {
                "ln1.w" => Source::whole(own("input_layernorm.weight"), shape),
                "ln1.b" => Source::whole(own("input_layernorm.bias"), shape),
                "ln2.w" => Source::whole(own("post_attention_layernorm.weight"), shape),
                "ln2.b" => Source::whole(own("post_attention_layernorm.bias"), shape),
                "attn.W_Q" => heads?.third_of_rows_by_head(fused, 0),
                "attn.W_K" => heads?.third_of_rows_by_head(fused, 1),
                "attn.W_V" => heads?.third_of_rows_by_head(fused, 2),
                "attn.b_Q" => Source::third_of_bias_by_head(fused_bias, shape, 0)?,
                "attn.b_K" => Source::third_of_bias_by_head(fused_bias, shape, 1)?,
                "attn.b_V" => Source::third_of_bias_by_head(fused_bias, shape, 2)?,
                "attn.W_O" => Source::columns_of_heads(own("attention.dense.weight"), shape)?,
                "attn.b_O" => Source::whole(own("attention.dense.bias"), shape),
                "mlp.W_in" => Source::transposed(own("mlp.dense_h_to_4h.weight"), shape),
                "mlp.b_in" => Source::whole(own("mlp.dense_h_to_4h.bias"), shape),
                "mlp.W_out" => Source::transposed(own("mlp.dense_4h_to_h.weight"), shape),
                "mlp.b_out" => Source::whole(own("mlp.dense_4h_to_h.bias"), shape),
                _ => return None,
            }
        }
        Place::Outside(_) => return None,
    })
}
