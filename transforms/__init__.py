"""Pure expressions: standardise values, conform a source's rows to core, build marts. All Ibis."""
