"""What is known of one window: its instance masks, and boundary maps made of them (Sec. 3.2)."""
