CREATE OR REPLACE FUNCTION public.user_contexts_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
CREATE TRIGGER user_contexts_updated_at BEFORE UPDATE ON public.user_contexts
    FOR EACH ROW EXECUTE FUNCTION public.user_contexts_updated_at();
