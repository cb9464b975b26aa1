"""What the grades allow: error bounds with their derivations, and the tolerances that follow from them."""
