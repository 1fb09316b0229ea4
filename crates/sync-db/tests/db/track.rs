//! What tracking covers, and the law of the cursor.
