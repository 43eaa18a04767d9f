/* Undefines what tells one set of instructions in int8_impl.h from the others. */
#undef SET
#undef SET_NAME
#undef ROW_TILE
#undef PANEL_TILE
#undef INT8_TILES
#undef PARTS
#undef INT
#undef INT_START
#undef WEIGHTS
#undef LOAD_WEIGHTS
#undef INPUT
#undef LOAD_INPUT
#undef ADD_PRODUCTS
#undef STORE_TOTALS
#undef VEC_FROM_SUMS
#undef INTEGER_BYTES
#undef STORE_INTEGERS
